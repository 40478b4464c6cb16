"""The end of the process without a failed request: clients are told first, then it stops to listen.

uvicorn closes idle connections at once when it is told to end, and a client that sends on one at that moment
gets no answer. So for some seconds each answer closes its connection, by which clients open new ones, to pods
that stay; those that are idle after that were not in use.
"""

import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLOSE = (b"connection", b"close")


class Leaving:
    """ASGI middleware: once the process is on its way out, each answer closes its connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.now = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one request on."""

        async def send_and_close(message: Message) -> None:
            if self.now and message["type"] == "http.response.start":
                others = [item for item in message.get("headers", ()) if item[0].lower() != CLOSE[0]]
                message = {**message, "headers": [*others, CLOSE]}
            await send(message)

        await self._app(scope, receive, send_and_close)


class Server(uvicorn.Server):
    """A server that gives notice before it ends.

    Parameters
    ----------
    app
        The whole application.
    configure
        Makes uvicorn's configuration of an application.
    notice_seconds
        Time between the signal and the end of listening; a second signal ends it.
    """

    def __init__(
        self, app: ASGIApp, configure: Callable[[ASGIApp], uvicorn.Config], notice_seconds: float
    ) -> None:
        self._leaving = Leaving(app)
        self._notice_seconds = notice_seconds
        self._ends_at = float("inf")
        super().__init__(configure(self._leaving))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave at the first signal, end at the second."""
        if self._leaving.now or not self._notice_seconds:
            super().handle_exit(sig, frame)
            return
        self._leaving.now = True
        self._ends_at = time.monotonic() + self._notice_seconds

    async def on_tick(self, counter: int) -> bool:
        """Whether the server ends now; uvicorn asks ten times a second."""
        if time.monotonic() >= self._ends_at:
            self.should_exit = True
        return await super().on_tick(counter)
