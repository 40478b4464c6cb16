"""The operator's errors. Each leaf says whether trying again can help.

Other people's errors are converted where they enter (``cluster.client``), with the cause chained.
"""

import re

_ADMISSION = re.compile(r"admission webhook|calling webhook|ValidatingAdmissionPolicy")
_NO_ANSWER = "failed calling webhook"


class OperatorError(Exception):
    """Everything the operator raises on purpose."""

    retryable: bool = False
    """Whether the same call may succeed later without a person acting."""


class InfrastructureError(OperatorError):
    """Something around the operator failed; tried again with back-off and jitter."""

    retryable = True


class ApiError(InfrastructureError):
    """The API server answered with an error status."""

    def __init__(self, status: int, reason: str, message: str, *, request: str = "") -> None:
        super().__init__(f"{request}: {status} {reason}: {message}"[:2000])
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def by_admission(self) -> bool:
        """Whether a webhook or policy of the cluster's owner decided, which may answer with any status."""
        return _ADMISSION.search(self.message) is not None

    @property
    def by_silence(self) -> bool:
        """Whether it decided by not answering."""
        return _NO_ANSWER in self.message

    @classmethod
    def of(cls, status: int, reason: str, message: str, *, request: str = "") -> "ApiError":
        """Build the class that belongs to the status; ApiError itself for the rest (5xx, 429, 401)."""
        for leaf in (NotFoundError, ConflictError, GoneError, InvalidError, ForbiddenError):
            if status in leaf.statuses:
                return leaf(status, reason, message, request=request)
        return cls(status, reason, message, request=request)

    statuses: tuple[int, ...] = ()
    """HTTP statuses of this class."""


class ApiUnreachableError(InfrastructureError):
    """No answer: connection refused, reset or timed out."""


class NotLeadingError(InfrastructureError):
    """The Lease was not renewed in time: nothing is written until it is."""


class NotFoundError(ApiError):
    """The object or its namespace is gone; the caller decides what that means."""

    retryable = False
    statuses = (404,)


class ConflictError(ApiError):
    """Somebody else was faster, or the object exists; gather and plan again."""

    statuses = (409,)


class GoneError(ApiError):
    """The resource version is too old for a watch; list again."""

    statuses = (410,)


class InvalidError(ApiError):
    """The API server refuses a child for its content: the spec or a builder is wrong."""

    retryable = False
    statuses = (400, 422)


class ForbiddenError(ApiError):
    """The operator lacks a permission, or an admission policy or quota refuses the child."""

    statuses = (403,)


class LeaseLostError(OperatorError):
    """Another replica holds the Lease: this process must end."""


class SettingsError(OperatorError):
    """An environment variable is wrong; the message names it."""
