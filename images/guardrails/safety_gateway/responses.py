"""Responses in JSON, and errors in OpenAI's form."""

import math
from typing import Any

from starlette.responses import Response

from safety_gateway.answers import dump
from safety_gateway.errors import GatewayError, UnauthorizedError, error_object


def error_response(error: GatewayError, more: dict[str, str] | None = None) -> Response:
    """What a client gets instead of an answer, with further headers."""
    headers = {} if error.retry_after is None else {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    if error.status == UnauthorizedError.status:
        headers["WWW-Authenticate"] = "Bearer"
    return json_response(error.status, error_object(error), headers | (more or {}))


def json_response(status: int, data: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """A JSON document."""
    return Response(dump(data), status, headers, "application/json")
