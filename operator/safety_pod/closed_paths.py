"""Middleware for a model server behind rails: only what the rails need is served.

vLLM's API key guards paths below ``/v1`` only; ``/invocations`` gives the same completions without a key.
Where the network does not keep others away, this does: ``--middleware safety_pod.closed_paths.ClosedPaths``.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
"""As ASGI has them."""

GUARDED = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/models")
"""Behind the API key."""

OPEN = ("/health", "/metrics")
"""For probes and for Prometheus: no completion, no model text."""


class ClosedPaths:
    """ASGI middleware: 404 for every path that is neither guarded nor harmless."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on or refuse one request."""
        if scope["type"] == "lifespan" or scope.get("path") in (*GUARDED, *OPEN):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            headers = [(b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "websocket.close"})
