"""``python -m safety_worker.training.tracking``: see ``process``."""

import sys

from safety_worker.training.tracking.process import main

sys.exit(main())
