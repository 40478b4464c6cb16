"""What a client is told instead of an answer.

Every leaf has its HTTP status and OpenAI's code. A message never holds a word of the conversation.
"""

from typing import Any

CLIENT_ERRORS = range(400, 500)
MAX_CAUSES = 5
"""Errors behind an error that are looked at."""


class GatewayError(Exception):
    """A request without an answer."""

    status = 500
    code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        rail: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.status = status or self.status
        self.retry_after = retry_after
        """Seconds after which the same request may succeed."""
        self.rail = rail
        """What failed, where it was a rail, a guard or the model."""


class BadRequestError(GatewayError):
    """The client can change the request; trying the same again is of no use."""

    status = 400
    code = "invalid_request"


class NotServedError(GatewayError):
    """Another model is asked for."""

    status = 404
    code = "model_not_found"


class UnauthorizedError(GatewayError):
    """The request has no API key that is known here."""

    status = 401
    code = "invalid_api_key"


class RateLimitedError(GatewayError):
    """The caller has taken what it may; later it may go on."""

    status = 429
    code = "rate_limit_exceeded"


class UnavailableError(GatewayError):
    """The model, a guard or a rail failed: the request is closed, and may be tried again."""

    status = 503
    code = "guardrails_unavailable"


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


def causes_of(error: BaseException | None) -> list[BaseException]:
    """An error and those behind it, outermost first, up to a bound."""
    found: list[BaseException] = []
    while isinstance(error, BaseException) and len(found) < MAX_CAUSES:
        found.append(error)
        error = getattr(error, "inner_exception", None) or error.__cause__  # NeMo Guardrails keeps its own
    return found


def error_object(error: GatewayError) -> dict[str, Any]:
    """The error in OpenAI's form."""
    kind = "invalid_request_error" if error.status in CLIENT_ERRORS else "server_error"
    return {"error": {"message": error.message, "type": kind, "param": None, "code": error.code}}
