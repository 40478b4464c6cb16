"""Connections that ask nothing: given up after a time, and the first to go where there are too many.

uvicorn has no time limit for the head of a request. Its own limit of connections answers everybody with 503
once idle ones fill it; here, as in nginx, those that ask nothing make room for those that do.
"""

import asyncio
import logging
import resource
import time
from collections import OrderedDict
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from safety_gateway.errors import ClientGoneError

log = logging.getLogger(__name__)

HEAD_SECONDS = 30.0
"""Longest time until the head of a connection's first request is there, as in hyper and granian."""
KEEP_ALIVE_SECONDS = 75
"""Longer than load balancers keep an idle connection (60 s), so that none sends on one that is closing."""
SEND_SECONDS = 60.0
"""Longest time that a client may take nothing of its answer."""
MAX_CONNECTIONS = 8192
"""At one pod; an idle one takes about 5 kB."""
MAX_FILES = 65_536
OTHER_FILES = 1024
"""Files and sockets that are no client's: to the model and to guards, for 256 requests at a time."""
MINIMUM = 64
TELL_SECONDS = 60.0
"""Time between two lines of the log on connections that were closed for their number."""
CONNECTION = "connection"
"""Name of a request's connection in the state of its scope."""


class Connections:
    """The connections of a process that work for no request, in the order in which they began to wait.

    Those that never asked go first where there are too many: a flood of them closes none that a client uses.
    """

    def __init__(self, bound: int = MAX_CONNECTIONS, head_seconds: float = HEAD_SECONDS) -> None:
        self.bound = bound
        self.head_seconds = head_seconds
        self.number = 0
        self._told = -TELL_SECONDS
        self._new: OrderedDict[Connection, None] = OrderedDict()
        self._idle: OrderedDict[Connection, None] = OrderedDict()

    def opened(self, connection: "Connection") -> None:
        """Take one in; one that waits is closed where there are too many."""
        self.number += 1
        self._new[connection] = None
        if self.number > self.bound:
            self._close_one()

    def _close_one(self) -> None:
        waiting = self._new if len(self._new) > 1 else self._idle or self._new
        oldest, _ = waiting.popitem(last=False)
        oldest.abort()
        if (now := time.monotonic()) - self._told >= TELL_SECONDS:
            self._told = now
            log.warning("more than %d connections: those that ask nothing are closed", self.bound)

    def began(self, connection: "Connection") -> None:
        """It works for a request."""
        self._new.pop(connection, None)
        self._idle.pop(connection, None)

    def ended(self, connection: "Connection") -> None:
        """It waits for the next request."""
        self._idle[connection] = None

    def closed(self, connection: "Connection") -> None:
        """It is no more."""
        self.number -= 1
        self.began(connection)


class Connection(H11Protocol):
    """A client's connection that knows whether it works for a request."""

    registry: Connections

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, CONNECTION: self}, _loop)
        self._deadline: asyncio.TimerHandle | None = None
        self._open = False
        self._requests = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give it a time for its first request."""
        super().connection_made(transport)
        self._open = True
        self._wait(self.registry.head_seconds)
        self.registry.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._open = False
        self._stop_waiting()
        self.registry.closed(self)

    def began(self) -> None:
        """The head of a request is there."""
        self._requests += 1
        self._stop_waiting()
        self.registry.began(self)

    def ended(self) -> None:
        """A request is done; the next may have begun."""
        self._requests -= 1
        if self._open and not self._requests:
            self._wait(KEEP_ALIVE_SECONDS + self.registry.head_seconds)
            self.registry.ended(self)

    def abort(self) -> None:
        """Close it at once."""
        self.transport.abort()

    def _wait(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self.abort)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def connections_of(known: Connections) -> type[Connection]:
    """The class of connections that a registry knows, for uvicorn's setting ``http``."""

    class Known(Connection):
        registry = known

    return Known


class KnowsConnection:
    """ASGI middleware: tells a connection of its requests, and gives up clients that do not read."""

    def __init__(self, app: ASGIApp, send_seconds: float = SEND_SECONDS) -> None:
        self._app = app
        self._seconds = send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one request on."""
        connection: Connection | None = scope.get("state", {}).get(CONNECTION)
        if connection is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._seconds):
                    await send(message)
            except TimeoutError as error:
                connection.abort()
                raise ClientGoneError from error

        connection.began()
        try:
            await self._app(scope, receive, send_in_time)
        finally:
            connection.ended()


def allow_files() -> int:
    """Have the process open as many files as it may; how many clients' connections that is enough for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    files = MAX_FILES if soft == resource.RLIM_INFINITY else soft
    return max(MINIMUM, min(MAX_CONNECTIONS, files - OTHER_FILES))
