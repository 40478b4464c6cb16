"""Problems: why something does not go on, in words for the person who can mend it."""

from dataclasses import dataclass

from safety_operator.api.conditions import Reason
from safety_operator.planning.model import PodFailure

HOPELESS = frozenset(
    {
        *("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"),
        *("CreateContainerConfigError", "CreateContainerError"),
    }
)
"""Reasons of a pod that cannot start for which a person has to act. It recovers by itself afterwards."""

CANNOT_START = HOPELESS | {"Unschedulable", "RunContainerError", "FailedCreate", "Forbidden"}
"""All reasons of a pod that has not run yet. Any other pod without an exit code ran and was taken away."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a stage or a server does not go on."""

    reason: str
    message: str
    stalled: bool = True
    """True: a person (or a later try) has to mend something; False: it is being waited for."""
    failed: bool = False
    """True: the stage ran and failed."""
    reference: bool = False
    """True: another resource is being waited for."""
    changing: bool = False
    """True: what is being waited for is known to become another: what runs for the old one is ended."""


def capital(text: str) -> str:
    """The text with a capital letter, as a sentence begins."""
    return text[:1].upper() + text[1:]


def pod_words(failure: PodFailure) -> str:
    """Pod, container, exit code and last words."""
    code = "" if failure.exit_code is None else f" with exit code {failure.exit_code}"
    where = f"pod {failure.pod}, container {failure.container or '-'}: {failure.reason}{code}"
    return f"{where}: {failure.message.strip()}".rstrip(": ")


def start_problem(failure: PodFailure, what: str) -> Problem | None:
    """Why a pod that has not run yet does not start; None if it did run."""
    if failure.exit_code is not None or failure.reason not in CANNOT_START:
        return None
    return Problem(
        Reason.POD_CANNOT_START, f"{what}: {pod_words(failure)}", stalled=failure.reason in HOPELESS
    )
