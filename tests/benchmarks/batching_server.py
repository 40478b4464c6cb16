"""An OpenAI-compatible server that batches as an engine does, and computes nothing: to measure clients.

Continuous batching: at each step every active request gets one token; requests join and leave between steps,
at most ``seats`` are active, others wait in order. A step takes ``step_ms``, ``seat_ms`` for each active
request and ``join_ms`` for each that joins. With 10, 0.15 and 1 ms and 64 seats that is 3,200 tokens a
second at most: an 8B model on one GPU, roughly. Lengths of answers are long-tailed (Pareto) and follow from
the prompt, so that every client gets the same answers.
"""

import asyncio
import hashlib
import json
import multiprocessing
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

HEADERS_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Shape:
    """How fast a server is, and how long its answers are."""

    seats: int = 64
    step_ms: float = 10.0
    seat_ms: float = 0.15
    join_ms: float = 1.0
    shortest: int = 20
    """Tokens of the shortest answer."""
    longest: int = 1024
    tail: float = 1.2
    """Exponent of the Pareto distribution: smaller is longer-tailed."""


def length_of(prompt: str, shape: Shape) -> int:
    """Tokens of the answer to a prompt."""
    digest = hashlib.sha256(prompt.encode()).digest()
    uniform = (int.from_bytes(digest[:7], "big") + 1) / (1 << 56)
    return min(shape.longest, int(shape.shortest * uniform ** (-1 / shape.tail)))


class Engine:
    """The batch."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._arrived = asyncio.Event()

    async def answer(self, tokens: int) -> None:
        """Wait until so many tokens are there."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((tokens, done))
        self._arrived.set()
        await done

    async def run(self) -> None:
        """Step after step, on a clock that does not fall behind where the machine is slow for a moment."""
        shape = self._shape
        active: list[list] = []
        clock = time.monotonic()
        while True:
            joined = 0
            while self._waiting and len(active) < shape.seats:
                active.append(list(self._waiting.popleft()))
                joined += 1
            if not active:
                self._arrived.clear()
                await self._arrived.wait()
                clock = time.monotonic()
                continue
            clock += (shape.step_ms + shape.seat_ms * len(active) + shape.join_ms * joined) / 1000
            await asyncio.sleep(max(0.0, clock - time.monotonic()))
            for item in active:
                item[0] -= 1
                if item[0] <= 0 and not item[1].done():
                    item[1].set_result(None)
            active = [item for item in active if item[0] > 0]


async def _serve(shape: Shape, listener: socket.socket) -> None:
    engine = Engine(shape)

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(HEADERS_END)).decode("latin-1")
                sizes = [
                    line.split(":")[1]
                    for line in head.split("\r\n")
                    if line.lower().startswith("content-length:")
                ]
                body = await reader.readexactly(int(sizes[0])) if sizes else b""
                answer = json.dumps(await _reply(body, engine, shape)).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                    % len(answer)
                )
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionResetError):
            writer.close()

    server = await asyncio.start_server(connection, sock=listener)
    async with server:
        await engine.run()


async def _reply(body: bytes, engine: Engine, shape: Shape) -> dict:
    if not body:
        return {"data": [{"id": "model"}]}
    asked = json.loads(body)
    prompt = asked["prompt"] if "prompt" in asked else asked["messages"][-1]["content"]
    tokens = min(asked["max_tokens"], length_of(prompt, shape))
    await engine.answer(tokens)
    text = "Harmful request: yes\nResponse refusal: yes\nHarmful response: no"
    choice = {"finish_reason": "stop", "text": text, "message": {"role": "assistant", "content": text}}
    return {"choices": [choice], "usage": {"prompt_tokens": 20, "completion_tokens": tokens}}


def _main(shape: Shape, listener: socket.socket) -> None:
    asyncio.run(_serve(shape, listener))


@contextmanager
def batching_server(shape: Shape) -> Iterator[str]:
    """A server in a process of its own; gives its base URL."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_main, args=(shape, listener), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        process.kill()
        process.join()
        listener.close()
