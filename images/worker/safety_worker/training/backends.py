"""The training backends: one line each. A backend trains, resumes and exports as a ``TrainStage`` asks.

A new one is an entry here and a package beside ``trl``; what it may use of this package (rows, plan,
checkpoints, metrics) knows no backend. ``nemo_rl`` is none of them: it trains in NeMo-RL's own image, by a
command of its own, between the stages prepare and export.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from safety_records.finetune_stages import TrainStage
from safety_records.progress import Progress
from safety_records.result import StageResult
from safety_records.training import TrainingBackend

BackendFunction = Callable[[TrainStage, Path, Callable[[Progress], None]], StageResult | None]
"""Gets the stage, the artifact root (a local folder that all pods share), and what to call after each step.
Of several processes all but the first give None.

It leaves the model in the stage's output folder and its working files in ``<out>.work``, and continues from
those whenever and however it was ended. It raises ``InputError`` if a person must act,
``InfrastructureError`` if trying again may help, and ``SystemExit`` with 143 after SIGTERM.
"""

BACKENDS: Mapping[TrainingBackend, str] = {
    "trl": "safety_worker.training.trl.backend:run",
}
"""``module:function`` of each, a :data:`BackendFunction`; imported when it is wanted."""
