"""When a training whose other processes are gone is one that they have to explain, and when it is not."""

from pathlib import Path

from safety_worker.errors import InfrastructureError, PeerLostError, WorkerError
from safety_worker.training.checkpoints import CHECKPOINTS, latest_complete
from safety_worker.training.records import LOSSES_NAME, count_in_row

MAX_LOSSES = 5
"""Times that others may be lost since the same checkpoint without counting."""


def lost_peer(told: str, work: Path, *, counts: bool) -> WorkerError:
    """Another process is gone, whose end counts; without any progress in between this one counts, too.

    Parameters
    ----------
    told
        What was seen.
    work
        Folder of the working files.
    counts
        Whether this process is the one that keeps count.
    """
    last = latest_complete(work / CHECKPOINTS)
    times = count_in_row(work / LOSSES_NAME, last.step if last else 0) if counts else 0
    if times <= MAX_LOSSES:
        return PeerLostError("PeerLost", told)
    return InfrastructureError(
        "PeersKeepEnding",
        f"{told}, {times} times in a row from the same step: look at the logs of all pods and at the "
        "network between them",
    )
