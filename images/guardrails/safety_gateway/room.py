"""Room for requests at a pod: how many are at work, and how much of others is still arriving.

A request takes a place once its body is there: else a few hundred clients that send theirs slowly would keep
everybody out.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Receive

from safety_gateway.errors import BadRequestError, ClientGoneError, UnavailableError

MAX_REQUESTS = 256
"""Requests at a time: what is above is told to come again."""
MAX_ARRIVING_BYTES = 268_435_456
"""256 MiB of bodies that are not whole yet, as many as requests of the largest size may be at work."""
BODY_SECONDS = 60
"""Longest time that a client may take to send its request."""


class Room:
    """The requests of all endpoints together."""

    def __init__(self) -> None:
        self._at_work = 0
        self._arriving = 0

    def check(self) -> None:
        """Raise UnavailableError where there is no place."""
        if self._at_work >= MAX_REQUESTS:
            raise _full()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for a request. Raises as :meth:`check`."""
        self.check()
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1

    async def read_body(self, receive: Receive, bound: int) -> bytes:
        """A request's body, up to its bound in bytes and time.

        Raises
        ------
        BadRequestError
            Where it has more, or takes longer.
        UnavailableError
            Where too much arrives at the same time.
        ClientGoneError
            If the client leaves.
        """
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise ClientGoneError
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    self._arriving += len(parts[-1])
                    if size > bound:
                        words = f"a request has at most {bound} bytes"
                        raise BadRequestError(words, status=413, code="too_large")
                    if self._arriving > MAX_ARRIVING_BYTES:
                        raise _full()
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError as error:
            raise BadRequestError("the request did not arrive in time", status=408, code="timeout") from error
        finally:
            self._arriving -= size


def _full() -> UnavailableError:
    return UnavailableError("too many requests at a time", code="overloaded", retry_after=1)
