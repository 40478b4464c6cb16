"""Losses on the validation rows, by the records of checkpoints: exact, and there as soon as one is saved.

Event files have them up to two minutes later, too late to end a training by. NeMo-RL removes checkpoints, so
losses are kept in a file of ours.
"""

import json
import math
from pathlib import Path

from safety_worker.artifacts.files import atomic_write_text
from safety_worker.errors import InputError
from safety_worker.training.nemo_rl.checkpoints import recorded_losses
from safety_worker.training.records import Validated

VALIDATIONS_NAME = "validations.json"
DIGITS = 6
"""Of a loss, as with backend trl: what differs by less is no gain."""


class StoppedEarlyError(Exception):
    """The training has nothing more to gain: no failure."""


class Validations:
    """Losses by step.

    Parameters
    ----------
    path
        Their file.
    after_step
        Step of the checkpoint from which training continues: later ones are measured again.
    patience
        Measurements in a row without a lower loss after which training ends; None: never.
    """

    def __init__(self, path: Path, after_step: int, patience: int | None) -> None:
        self._path, self._patience = path, patience
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.losses: dict[int, float] = {int(k): v for k, v in known.items() if int(k) <= after_step}

    def look(self, checkpoints: Path) -> None:
        """Take in what is new.

        Raises
        ------
        InputError
            If a loss is no number.
        """
        new = {step: loss for step, loss in recorded_losses(checkpoints).items() if step not in self.losses}
        for step, loss in new.items():
            if not math.isfinite(loss):
                raise InputError(
                    "LossNotFinite",
                    f"the validation loss is {loss} at step {step}: lower schedule.learningRate or raise "
                    "schedule.warmupSteps",
                )
        if new:
            self.losses |= {step: round(loss, DIGITS) for step, loss in new.items()}
            atomic_write_text(self._path, json.dumps(self.losses))

    @property
    def end(self) -> int | None:
        """The step at which training ends early; None: it goes on."""
        found = Validated()
        for step, loss in sorted(self.losses.items()):
            found = found.with_loss(step, loss)
            if found.stops_after(self._patience):
                return step
        return None
