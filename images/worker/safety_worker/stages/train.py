"""The train stage of a SafetyFinetune: the model of a training backend, with how it was made."""

from typing import cast

from safety_records.result import StageResult
from safety_records.stages import TrainStage
from safety_worker.context import StageContext
from safety_worker.errors import InputError
from safety_worker.lazy import load
from safety_worker.training.backends import BACKENDS, BackendFunction


def run(spec: TrainStage, context: StageContext) -> StageResult:
    """Train on the claim, where checkpoints are that several pods write.

    Raises
    ------
    InputError
        If the backend trains in an image of its own, or as it says so.
    """
    if spec.backend not in BACKENDS:
        raise InputError("OtherImage", f"backend {spec.backend} does not train in the worker's image")
    train = cast("BackendFunction", load(BACKENDS[spec.backend]))
    return train(spec, context.store.path(""), context.report_progress)
