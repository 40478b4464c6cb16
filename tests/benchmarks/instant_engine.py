"""A model and a guard that take as long as they are told, on next to no CPU: one process of uvloop.

``python tests/benchmarks/instant_engine.py PORT GUARD_SECONDS``. The guard takes ``GUARD_SECONDS``. The model
takes what the request's text says: ``tokens 64 each 0.020`` is 64 tokens at 20 ms, streamed where asked for.
A request for the model ``content-safety`` is the guard's.
"""

import asyncio
import json
import re
import sys

import uvloop

SAFE = '{"User Safety": "safe", "Response Safety": "safe"}'
ASKED = re.compile(rb"tokens (\d+) each ([0-9.]+)")
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
COUNTS = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
BASE = {"id": "x", "object": "chat.completion", "created": 0, "model": "model"}


def whole(text: str) -> bytes:
    """A whole answer."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    data = json.dumps(BASE | {"choices": [choice], "usage": COUNTS}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(data) + data


def event(delta: dict[str, str], finish_reason: str | None) -> bytes:
    """One part of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return chunk(b"data: %s\n\n" % json.dumps(BASE | {"choices": [choice]}).encode())


def chunk(data: bytes) -> bytes:
    """One chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


GUARD, MODEL = whole(SAFE), whole("Paris.")
TOKEN = event({"content": " word"}, None)
COUNTED = chunk(b"data: %s\n\n" % json.dumps(BASE | {"choices": [], "usage": COUNTS}).encode())
END = event({}, "stop") + COUNTED + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Engine(asyncio.Protocol):
    """One connection; one request at a time."""

    guard_seconds = 0.0

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._data = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep where to write."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a request once it is there."""
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if found and len(body) >= (int(length[1]) if length else 0):
            self._data = b""
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        if b"content-safety" in body:
            self._later(self.guard_seconds, GUARD)
            return
        asked = ASKED.search(body)
        tokens, each = (int(asked[1]), float(asked[2])) if asked else (1, 0.0)
        if b'"stream": true' in body or b'"stream":true' in body:
            self._transport.write(STREAM_HEAD)
            self._stream(tokens, each, self._loop.time())
        else:
            self._later(tokens * each, MODEL)

    def _later(self, seconds: float, data: bytes) -> None:
        if seconds:
            self._loop.call_later(seconds, self._transport.write, data)
        else:
            self._transport.write(data)

    def _stream(self, left: int, each: float, due: float) -> None:
        """Send the next token when it is due; each by the clock, so that no lateness adds up."""
        self._loop.call_at(due + each, self._token, left, each, due + each)

    def _token(self, left: int, each: float, due: float) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(TOKEN if left > 1 else TOKEN + END)
        if left > 1:
            self._stream(left - 1, each, due)


async def serve(port: int) -> None:
    """Until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    Engine.guard_seconds = float(sys.argv[2])
    uvloop.run(serve(int(sys.argv[1])))
