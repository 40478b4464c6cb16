"""What errors of torch and its friends mean for a training."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.checkpoint.api import CheckpointException

from safety_worker.errors import InfrastructureError, InputError, WorkerError, kind_of
from safety_worker.memory_errors import is_gpu_full, is_pod_full
from safety_worker.training.peer_loss import lost_peer
from safety_worker.training.pod_memory import out_of_memory
from safety_worker.training.ranks import ProcessRank
from safety_worker.training.rendezvous import is_lost_peer

SIGNS_OF_WRITING = ("writ", "unexpected pos", "iostream error")
"""What messages of torch have where it could not write a file."""

LITTLE_BYTES = 64 * 1024 * 1024
"""Free space below which a failed write is one of a full disk."""


@contextmanager
def told_errors(place: ProcessRank, work: Path) -> Iterator[None]:
    """Raise what a person can act on, or what trying again can help.

    Parameters
    ----------
    place
        Which process this is.
    work
        Folder of the working files.
    """
    try:
        yield
    except WorkerError:
        raise
    except CheckpointException as error:  # which is no Exception, so that nothing else would tell of it
        cause = next((failure for failure, _ in error.failures.values()), error)
        words = cause.strerror if isinstance(cause, OSError) and cause.errno else kind_of(cause)
        told = InfrastructureError(
            "CheckpointFailed",
            f"a checkpoint could not be written or read ({words}): look at the artifacts claim; "
            "training goes on from the last whole checkpoint",
        )
        raise find_meaning(cause, place, work) or told from error
    except Exception as error:
        meaning = find_meaning(error, place, work)
        if meaning is None:
            raise
        raise meaning from error


def find_meaning(error: BaseException, place: ProcessRank, work: Path) -> WorkerError | None:
    """What an error of a library means; None: nobody knows."""
    if is_gpu_full(error):
        return out_of_gpu_memory(error)
    if is_pod_full(error):
        return out_of_memory("the pod has no memory left")
    if is_full_disk(error, work):
        return InfrastructureError(
            "ArtifactStoreFull",
            "no space left while training wrote its files: free some, enlarge the artifacts claim, or "
            "lower checkpoint.keep; the checkpoints before are whole",
        )
    if place.world_size > 1 and is_lost_peer(error):
        told = f"another process of this training ended or does not answer any more ({str(error)[:300]})"
        return lost_peer(told, work, counts=place.is_first)
    return None


def out_of_gpu_memory(error: BaseException) -> InputError:
    """Trying again would end the same."""
    return InputError(
        "OutOfGpuMemory",
        "the GPU's memory is full: lower batch.micro or batch.maxSequenceLength, set "
        "compute.gradientCheckpointing, or use more GPUs with compute.strategy fsdp "
        f"({str(error)[:300]})",
    )


def is_full_disk(error: BaseException, folder: Path) -> bool:
    """Whether writing failed because there is no space: torch tells by an error without a number."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        if "No space left" in str(cause) or "Disk quota exceeded" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    wrote = isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS_OF_WRITING)
    return wrote and folder.exists() and shutil.disk_usage(folder).free < LITTLE_BYTES
