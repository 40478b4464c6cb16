"""The worker's error tree: whether a person must act or trying again can help.

Other people's errors are converted where they appear, with the cause chained.
"""

import errno
import traceback
from pathlib import PurePath

from safety_records.result import EXIT_INPUT, EXIT_INTERRUPTED, FailureClass, StageFailure
from safety_worker.memory_errors import is_gpu_full, is_pod_full
from safety_worker.text import clean

MAX_MESSAGE = 1200
"""Characters of a failure's message, the bound of ``StageFailure.message``."""


class WorkerError(Exception):
    """A stage ended without a result.

    Parameters
    ----------
    reason
        CamelCase, becomes the condition's reason.
    message
        Names the field or the file, and the remedy. Never model or data-set text.
    """

    failure = FailureClass.INFRASTRUCTURE
    exit_code = 1

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message

    def to_failure(self) -> StageFailure:
        """The record that crosses the pod boundary, with a message cut to its bound."""
        message = clean(self.message)
        if len(message) > MAX_MESSAGE:
            message = message[: MAX_MESSAGE - 4] + " ..."
        return StageFailure(failure=self.failure, reason=self.reason, message=message)


class InputError(WorkerError):
    """The specification or the data is wrong: a person must act, trying again gives the same."""

    failure = FailureClass.INPUT
    exit_code = EXIT_INPUT


class InfrastructureError(WorkerError):
    """Something around the stage failed, such as a server or a volume: try again."""


class PeerLostError(InfrastructureError):
    """Another process of the stage is gone, and has told why itself: this end counts for nothing."""

    exit_code = EXIT_INTERRUPTED


def unexpected(error: BaseException) -> InfrastructureError:
    """What to tell of an error that nobody thought of."""
    return InfrastructureError(
        "UnexpectedError",
        f"{kind_of(error)}: the pod's log has its words and the stack trace; please report it",
    )


def kind_of(error: BaseException) -> str:
    """Type and place of another library's error, whose words may quote rows and stay in the log."""
    steps = traceback.extract_tb(error.__traceback__)
    if not steps:
        return type(error).__name__
    place = "/".join(PurePath(steps[-1].filename).parts[-3:])
    return f"{type(error).__name__} in {place}, line {steps[-1].lineno}"


def as_worker_error(error: Exception) -> WorkerError:
    """What is told of any error, at the outermost boundary."""
    if isinstance(error, WorkerError):
        return error
    if isinstance(error, OSError):
        return _storage_error(error)
    if is_pod_full(error):
        return InfrastructureError("OutOfMemory", "the stage needs more memory than it has: raise its limit")
    if is_gpu_full(error):
        return InputError(
            "OutOfGpuMemory",
            f"the GPU's memory is full: use smaller batches or shorter rows ({str(error)[:300]})",
        )
    return unexpected(error)


def _storage_error(error: OSError) -> WorkerError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InfrastructureError(
            "ArtifactStoreFull", "no space left: free some, or enlarge the artifacts claim"
        )
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return InfrastructureError("ArtifactStoreNotWritable", f"{error.filename}: {error.strerror}")
    if error.errno is None:  # a library's own, of which many are no fault of a volume
        return unexpected(error)
    return InfrastructureError("StorageError", f"{error.filename or 'a file'}: {error.strerror}")
