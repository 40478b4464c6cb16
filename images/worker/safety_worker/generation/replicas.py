"""The pods behind one model server: each request goes to the one with the fewest in flight, in turns.

A Service spreads connections, not requests, and by chance. So pods are asked directly where there are
several: their addresses come from a headless Service, again every few seconds. One that fails is left alone
for a while, and what it was asked is asked of another.
"""

import asyncio
import contextlib
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from safety_records.stage_base import ServedModel
from safety_worker.generation.concurrency import AdaptiveLimit

RESOLVE_SECONDS = 5.0
"""How old addresses may be: a pod that is replaced has a new one."""
REST_SECONDS = (0.5, 30.0)
"""First and longest time that a failing replica is left alone where there are others; doubled each time."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> addresses; raises OSError where there are none."""


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name, sorted."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({str(item[4][0]) for item in found})


class Replica:
    """One of the servers."""

    def __init__(self, url: str, maximum: int, *, steady: bool = False) -> None:
        self.url = url
        """Up to and including ``/v1``."""
        self.limit = AdaptiveLimit(maximum, steady=steady)
        self.in_flight = 0
        self.asked = 0
        """When it was asked last, in requests to all replicas."""
        self.resting_until = float("-inf")
        self.failures = 0
        """In a row."""


class Replicas:
    """All replicas of a server.

    Parameters
    ----------
    server
        Where it is. Without ``pods_url`` there is one replica, at ``base_url``.
    maximum
        Requests at a time to one replica at most.
    resolver
        Finds addresses.
    steady
        Whether each gets as many from the start, as :class:`AdaptiveLimit` says.
    """

    def __init__(
        self, server: ServedModel, maximum: int, resolver: Resolve = resolve, *, steady: bool = False
    ) -> None:
        self._steady = steady
        self._server = server
        self._maximum = maximum
        self._resolve = resolver
        self._resolved = float("-inf")
        self._asked = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._known: dict[str, Replica] = {}
        if not server.pods_url:
            url = server.base_url.rstrip("/")
            self._known[url] = Replica(url, maximum, steady=steady)

    def __len__(self) -> int:
        return len(self._known)

    async def refresh(self) -> None:
        """Look up who is there. What was known stays where nothing can be found.

        Raises
        ------
        OSError
            If nobody was ever found.
        """
        if not self._server.pods_url or time.monotonic() - self._resolved < RESOLVE_SECONDS:
            return
        self._resolved = time.monotonic()
        parts = urlsplit(self._server.pods_url)
        port = parts.port or 80
        try:
            found = await self._resolve(parts.hostname or "", port)
        except OSError:
            if not self._known:
                self._resolved = float("-inf")
                raise
            return
        urls = [f"{parts.scheme}://{_host(address)}:{port}{parts.path.rstrip('/')}" for address in found]
        self._known = {
            url: self._known.get(url) or Replica(url, self._maximum, steady=self._steady) for url in urls
        }
        self._wake()

    async def acquire(self) -> Replica:
        """Wait for a place at the replica with the fewest requests in flight; give it back by ``release``.

        Raises
        ------
        OSError
            If nobody was ever found.
        """
        while True:
            await self.refresh()
            now = time.monotonic()
            awake = [replica for replica in self._known.values() if replica.resting_until <= now]
            free = [replica for replica in awake if replica.in_flight < replica.limit.value]
            if free:
                chosen = min(free, key=lambda replica: (replica.in_flight, replica.asked))
                chosen.in_flight += 1
                self._asked += 1
                chosen.asked = self._asked
                chosen.limit.used(chosen.in_flight)
                return chosen
            resting = [item.resting_until - now for item in self._known.values() if item.resting_until > now]
            await self._wait(min([*resting, RESOLVE_SECONDS]))

    async def _wait(self, seconds: float) -> None:
        """Wait until a place may be free, or for so long."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait_for(turn, seconds)
        except TimeoutError:
            with contextlib.suppress(ValueError):
                self._waiting.remove(turn)

    def _wake(self) -> None:
        """Let as many look again as there are places, those that wait longest first."""
        places = sum(max(0, item.limit.value - item.in_flight) for item in self._known.values())
        while self._waiting and places > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                places -= 1

    def release(self, replica: Replica) -> None:
        """Give a place back."""
        replica.in_flight -= 1
        self._wake()

    def succeeded(self, replica: Replica, seconds: float, tokens: int) -> None:
        """The replica has answered."""
        replica.failures = 0
        replica.limit.succeeded(seconds, tokens)

    def failed(
        self, replica: Replica, started: float, *, overload: bool, after_seconds: float | None
    ) -> bool:
        """The replica has not answered a request that began at ``started``.

        Parameters
        ----------
        overload
            Whether it has too much to do, as far as one can see.
        after_seconds
            When it wants to be asked again; None: it does not say.

        Returns
        -------
        bool
            Whether another one can be asked at once.
        """
        now = time.monotonic()
        if overload:
            replica.limit.overloaded(started)
        if after_seconds:
            replica.resting_until = max(replica.resting_until, now + after_seconds)
        if len(self._known) > 1:
            first, longest = REST_SECONDS
            rest = min(longest, first * 2.0 ** min(replica.failures, 16))
            replica.resting_until = max(replica.resting_until, now + rest)
            self._resolved = float("-inf")
        replica.failures += 1
        return any(item is not replica and item.resting_until <= now for item in self._known.values())


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
