"""What each request passes first: one length, and an id."""

import re
import uuid

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safety_gateway.errors import BadRequestError
from safety_gateway.responses import error_response

ID_HEADER = "x-request-id"
GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
"""What a client may call its request, as it stands in logs."""


class OneLength:
    """Refuses a request whose body has two lengths, and closes its connection.

    A proxy that goes by one of them takes for another request what is the rest of the body by the other
    (RFC 9112, section 6.1).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on or refuse one request."""
        names = {name for name, _ in scope.get("headers", ())}
        if {b"content-length", b"transfer-encoding"} <= names:
            error = BadRequestError("Content-Length and Transfer-Encoding exclude each other")
            await error_response(error, {"Connection": "close"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class RequestId:
    """Gives each request an id, its own where it has a good one, and tells it in the response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(ID_HEADER, "")
        id_ = given if GOOD_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = id_

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                header = (ID_HEADER.encode(), id_.encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        await self._app(scope, receive, send_with_id)
