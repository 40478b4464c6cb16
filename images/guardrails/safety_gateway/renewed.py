"""Connections to a server that are kept for a short time only.

A Service leads a new connection to a pod that is ready, and a kept one to the pod that it has, also while
that is on its way out. With requests that never cease such a pod would never be without one, so that an
update would not end; and a pod that came later would get no share of them.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp_retry import RetryClient

RENEWED_SECONDS = 2.0
"""Well below the 5 s in which a pod that is on its way out still takes new requests."""


@dataclass(slots=True)
class _Client:
    """A client with connections of its own."""

    client: RetryClient
    until: float
    users: int = 0


class RenewedClients:
    """Clients for requests; each is closed when its time is over and its last request is.

    Parameters
    ----------
    connect
        Opens a client.
    clock
        Seconds that never go back.
    """

    def __init__(
        self, connect: Callable[[], RetryClient], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._current: _Client | None = None

    @asynccontextmanager
    async def client(self) -> AsyncIterator[RetryClient]:
        """The client for one request."""
        before, found = self._current, self._renewed()
        found.users += 1  # at once: who waits here could find it closed by the next
        try:
            if before is not None and before is not found and not before.users:
                await before.client.close()
            yield found.client
        finally:
            found.users -= 1
            if found is not self._current and not found.users:
                await found.client.close()

    def _renewed(self) -> _Client:
        now = self._clock()
        if self._current is None or now >= self._current.until:
            self._current = _Client(self._connect(), now + RENEWED_SECONDS)
        return self._current

    async def close(self) -> None:
        """Close what is open, whoever uses it."""
        last, self._current = self._current, None
        if last is not None:
            await last.client.close()
