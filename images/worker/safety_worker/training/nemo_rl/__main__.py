"""``python -m safety_worker.training.nemo_rl --spec FILE``: the train stage, in NeMo-RL's own image."""

import sys

from safety_worker.training.nemo_rl.command import main

sys.exit(main())
