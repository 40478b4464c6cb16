"""The train stage of a SafetyFinetune: the model of a training backend, with how it was made."""

import time
from typing import cast

from safety_records.finetune_stages import TrainStage
from safety_records.result import StageResult
from safety_worker.artifacts.store import ArtifactStore
from safety_worker.context import StageContext
from safety_worker.errors import InfrastructureError, PeerLostError
from safety_worker.lazy import load
from safety_worker.training.backends import BACKENDS, BackendFunction

COMPLETING_SECONDS = 3600
"""How long the digests of a large model may take."""

POLL_SECONDS = 0.5


def run(spec: TrainStage, context: StageContext) -> StageResult | None:
    """Train on the claim, where several pods write checkpoints; None if another process has the result.

    Raises
    ------
    InfrastructureError
        If the backend trains in an image of its own, and has left no result.
    PeerLostError
        If the process that has the result does not complete it.
    """
    if spec.backend not in BACKENDS:
        # Asked for its record behind KubeRay: the volume may show the folder of another node late.
        raise InfrastructureError(
            "NoResultYet",
            f"{spec.out} holds no finished training, and {spec.backend} trains in an image of its own",
        )
    train = cast("BackendFunction", load(BACKENDS[spec.backend]))
    result = train(spec, context.store.path(""), context.report_progress)
    if result is None:
        wait_for_result(spec, context.store)
    return result


def wait_for_result(spec: TrainStage, store: ArtifactStore) -> None:
    """Wait until the first process has completed the folder: a new pod in its place would not find this one.

    Raises
    ------
    PeerLostError
        If it does not.
    """
    deadline = time.monotonic() + COMPLETING_SECONDS
    while store.load_result(spec.out, spec.inputs_hash) is None:
        if time.monotonic() > deadline:
            raise PeerLostError(
                "PeerLost", "the first process has exported the model and did not complete it"
            )
        time.sleep(POLL_SECONDS)
