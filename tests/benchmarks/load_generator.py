"""A lean load generator: some clients, each with one connection and one request at a time.

It reads what the servers of these benchmarks send and no more, so that it leaves the cores to them: 0.1 ms of
CPU a request. Latencies are of the requests that were answered with 200; any other answer is an error.
"""

import asyncio
import json
import random
import re
import time
from collections.abc import Callable
from typing import NamedTuple

TEXT = re.compile(rb'"content": "[^"]')
"""The first of a streamed answer: the gateway takes spaces away there."""


class Asked(NamedTuple):
    """A request and how long the engine alone takes for it."""

    body: bytes
    engine_seconds: float


class Load(NamedTuple):
    """What the clients saw."""

    added: list[float]
    """Seconds of each request beyond the engine's own."""
    first: list[float]
    """Seconds to the first text of each stream."""
    seconds: float
    """From the first request to the last answer."""

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return len(self.added) / self.seconds


def request(tokens: int = 1, each: float = 0.0, *, stream: bool = False) -> Asked:
    """A request whose answer has ``tokens``, each after ``each`` seconds."""
    text = f"Tell me of Paris: tokens {tokens} each {each:.4f}"
    body = {"model": "model", "messages": [{"role": "user", "content": text}], "stream": stream}
    data = json.dumps(body).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    return Asked(head + b"content-length: %d\r\n\r\n%s" % (len(data), data), tokens * each)


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._answered: asyncio.Future[None] | None = None
        self.first = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep where to write."""
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """A request that waits is not answered."""
        if self._answered and not self._answered.done():
            self._answered.set_exception(exc or ConnectionError("closed before the answer"))

    def data_received(self, data: bytes) -> None:
        """Wait for the end of an answer."""
        self._parts.append(data)
        if not self.first and TEXT.search(data):
            self.first = time.perf_counter()
        if self._answered and not self._answered.done() and self._is_whole():
            self._answered.set_result(None)

    def _is_whole(self) -> bool:
        if b"chunked" in self._parts[0]:
            return b"".join(self._parts[-2:]).endswith(b"\r\n0\r\n\r\n")
        head, found, body = b"".join(self._parts).partition(b"\r\n\r\n")
        _, sized, rest = head.lower().partition(b"content-length: ")
        return bool(found and sized) and len(body) >= int(rest.split(b"\r\n")[0])

    async def ask(self, body: bytes) -> None:
        """Send a request and wait for its answer."""
        self._parts, self.first = [], 0.0
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(body)
        await self._answered
        if not self._parts[0].startswith(b"HTTP/1.1 200"):
            raise RuntimeError(b"".join(self._parts)[:500])


async def load(
    ports: list[int],
    clients: int,
    asking: Callable[[random.Random], Asked],
    *,
    seconds: float = 0,
    number: int = 0,
) -> Load:
    """Load servers, each with its share of the clients, for a time or with a number of requests.

    A client begins somewhere within its first answer's time, so that requests come spread as those of many
    users do, and not all at once; the same clients ask the same in each run.
    """
    added: list[float] = []
    first: list[float] = []
    began, loop = time.perf_counter(), asyncio.get_running_loop()
    left = iter(range(number)) if number else iter(int, 1)

    async def client(index: int) -> None:
        chance = random.Random(index)
        _, protocol = await loop.create_connection(Client, "127.0.0.1", ports[index % len(ports)])
        await asyncio.sleep(chance.random() * asking(chance).engine_seconds)
        for _ in left:
            asked, start = asking(chance), time.perf_counter()
            await protocol.ask(asked.body)
            added.append(time.perf_counter() - start - asked.engine_seconds)
            if protocol.first:
                first.append(protocol.first - start)
            if seconds and time.perf_counter() - began >= seconds:
                break
        protocol.transport.close()

    await asyncio.gather(*(client(index) for index in range(clients)))
    return Load(sorted(added), sorted(first), time.perf_counter() - began)


def percentile(ordered: list[float], share: float) -> float:
    """The value that a share of them does not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
