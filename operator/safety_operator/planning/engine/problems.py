"""Problems: why something does not go on, in words for the person who can fix it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, ParamSpec, TypeVar

from safety_operator.api.conditions import Reason
from safety_operator.planning.engine.remedies import remedy_of
from safety_operator.state.observed import PodFailure
from safety_records.result import EXIT_INPUT


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a stage or a server does not go on."""

    reason: str
    message: str
    stalled: bool = True
    """True: a person (or a later try) has to fix something; False: it is being waited for."""
    failed: bool = False
    """True: the stage ran and failed."""
    reference: bool = False
    """True: another resource is being waited for."""
    changing: bool = False
    """True: what is being waited for is known to become another: what runs for the old one is ended."""

    @property
    def queued(self) -> bool:
        """Whether a queue holds it back, which is no fault."""
        return self.reason == Reason.QUEUED


class Blocked(Exception):  # noqa: N818 - no error: what is missing may come
    """A decision cannot be made yet. :func:`attempt` catches it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class UnmetRuleError(Exception):
    """A spec lacks what a rule of its schema promises: it is older than the rule, or planning has a bug."""


T = TypeVar("T")
P = ParamSpec("P")


class Attempt(NamedTuple, Generic[T]):
    """What was found, or why it was not."""

    value: T | None
    problem: Problem | None


def attempt(find: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Attempt[T]:
    """What a function gives, or the problem that it is blocked by."""
    try:
        return Attempt(find(*args, **kwargs), None)
    except Blocked as blocked:
        return Attempt(None, blocked.problem)


def capital(text: str) -> str:
    """The text with a capital letter, as a sentence begins."""
    return text[:1].upper() + text[1:]


def pod_words(failure: PodFailure) -> str:
    """Pod, container, exit code and last words."""
    code = "" if failure.exit_code is None else f" with exit code {failure.exit_code}"
    container = f", container {failure.container}" if failure.container else ""
    where = f"pod {failure.pod}{container}" if failure.pod else "no pod"
    return f"{where}: {failure.reason}{code}: {failure.message.strip()}".rstrip(": ")


def start_problem(failure: PodFailure, what: str) -> Problem | None:
    """Why a pod that has not run yet does not start; None if it did run."""
    if failure.exit_code is not None or failure.ended:
        return None
    return pod_problem(failure, what)


def ended_problem(failure: PodFailure, what: str) -> Problem | None:
    """That a pod was ended from outside, as an eviction does: Kubernetes tries again, without counting."""
    return pod_problem(failure, what) if failure.ended else None


SERVER_REASONS = (
    *(Reason.NO_CUDA_DEVICE, Reason.CUDA_DRIVER_TOO_OLD, Reason.IMAGE_WITHOUT_CUDA),
    Reason.MODEL_CHANGED,
    Reason.INVALID_SPEC,
)
"""What a model server that ends before its engine starts (``safety_pod.serve``) begins its words with, and a
gateway whose own rails do not load (``safety_gateway.__main__``)."""


def _told_by_server(failure: PodFailure, what: str) -> Problem | None:
    """What the start of a model server found wrong, with its own reason; it holds the remedy."""
    reason, _, message = failure.message.strip().partition(": ")
    if failure.exit_code != EXIT_INPUT or reason not in SERVER_REASONS:
        return None
    return Problem(Reason(reason), f"{what}: pod {failure.pod}: {message}")


def pod_problem(failure: PodFailure, what: str) -> Problem:
    """A pod's last words with what helps; stalled where waiting does not."""
    told = _told_by_server(failure, what)
    if told is not None:
        return told
    remedy = remedy_of(failure)
    message = f"{what}: {pod_words(failure)}"
    if remedy.text:
        message = f"{message.rstrip('. ')}. {remedy.text}"
    ran = failure.exit_code is not None or failure.ended
    return Problem(Reason.NOT_READY if ran else Reason.POD_CANNOT_START, message, stalled=remedy.stalled)
