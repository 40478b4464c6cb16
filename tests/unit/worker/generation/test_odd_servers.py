"""Servers, and what is in front of them, at their worst: bytes on a real socket, and what becomes of them."""

import asyncio
import contextlib
import gzip
import json
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from safety_records.sampling import Sampling
from safety_records.stage_base import ServedModel
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.generation.client import ChatClient, PromptRefusedError
from safety_worker.generation.completion import Completion
from safety_worker.generation.retries import RetryPolicy
from safety_worker.generation.target import Target
from safety_worker.rows import Message
from safety_worker.transport.download import retry_after

POLICY = RetryPolicy(
    ready_seconds=30,
    retry_seconds=30,
    request_seconds=2,
    first_delay_seconds=0.01,
    longest_delay_seconds=0.02,
)


def body(text: str | None = "fine", **choice: object) -> bytes:
    message = {} if text is None else {"content": text}
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"} | choice]}).encode()


def http(content: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


FINE = http(body())
CUT = b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choi'
STREAM = b'data: {"choices": [{"delta": {"content": "fine"}}]}\n\ndata: [DONE]\n\n'


def reset(connection: socket.socket) -> None:
    connection.sendall(CUT)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stall(connection: socket.socket) -> None:
    """Waits in the middle of an answer until the client has gone."""
    connection.sendall(CUT)
    connection.recv(1)


def drip(connection: socket.socket) -> None:
    """A byte at a time, so that no single read takes long."""
    connection.sendall(CUT)
    connection.settimeout(0.05)
    with contextlib.suppress(OSError):
        while connection.send(b"x"):
            with contextlib.suppress(TimeoutError):
                connection.recv(1)
                return


Answer = bytes | Callable[[socket.socket], None]


class OddServer(socketserver.ThreadingTCPServer):
    """Answers the nth request for an answer as it is told to; lists a model otherwise."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, answer: Callable[[int, dict[str, Any]], Answer]) -> None:
        self.answer = answer
        self.asked = 0
        self.heads: list[str] = []
        super().__init__(("127.0.0.1", 0), _Connection)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Connection(socketserver.StreamRequestHandler):
    server: OddServer

    def handle(self) -> None:
        head = "".join(iter(lambda: self.rfile.readline().decode().rstrip("\r\n") + "\n", "\n"))
        if head.startswith("GET"):
            self.request.sendall(http(b'{"data": [{"id": "model"}]}'))
            return
        length = next(line for line in head.lower().splitlines() if line.startswith("content-length"))
        sent = json.loads(self.rfile.read(int(length.partition(":")[2])))
        self.server.heads.append(head.lower())
        self.server.asked += 1
        answer = self.server.answer(self.server.asked, sent)
        if isinstance(answer, bytes):
            self.request.sendall(answer)
        else:
            answer(self.request)


@contextlib.contextmanager
def serving(answer: Callable[[int, dict[str, Any]], Answer]) -> Iterator[OddServer]:
    with OddServer(answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: OddServer, *prompts: str, policy: RetryPolicy = POLICY) -> list[Completion]:
    async def run() -> list[Completion]:
        model = ServedModel(base_url=server.base_url, model="model")
        async with ChatClient(model, "", 2, policy) as client:
            await client.wait_ready(lambda _: None)
            sampling = Sampling(temperature=0.0, max_tokens=5)
            messages = [Message(role="user", content=prompt) for prompt in prompts or ("q",)]
            return [await client.complete([message], sampling) for message in messages]

    return asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"cho\r\n', id="chunks cut off"
        ),
        pytest.param(reset, id="connection reset"),
        pytest.param(stall, id="stalls"),
        pytest.param(drip, id="drips"),
        pytest.param(lambda connection: connection.close(), id="closes at once"),
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="another protocol"),
        pytest.param(http(b"", "204 No Content"), id="no content"),
        pytest.param(
            http(b"<html>Sign in</html>", "200 OK", "Content-Type: text/html"), id="page of a proxy"
        ),
        pytest.param(http(b"<html>Bad gateway</html>", "502 Bad Gateway"), id="error page of a proxy"),
        pytest.param(http(body()[:-3], "200 OK"), id="half of an answer"),
        pytest.param(http(body(), "200 OK", "Content-Encoding: gzip"), id="says gzip and is none"),
        pytest.param(
            http(gzip.compress(body())[:-20], "200 OK", "Content-Encoding: gzip"), id="gzip cut off"
        ),
        pytest.param(http(b'{"choices": [{"message": {"content": "\xe9"}}]}'), id="no UTF-8"),
        pytest.param(http(STREAM, "200 OK", "Content-Type: text/event-stream"), id="stream"),
        pytest.param(http(b'{"choices": []}'), id="no choices"),
        pytest.param(http(b'{"error": {"code": 429, "message": "slow down"}}'), id="200 with an error"),
        pytest.param(
            http(json.dumps({**json.loads(body("")), "error": {"code": 502}}).encode()),
            id="error beside choices",
        ),
        *(
            pytest.param(http(body("half of an ans", finish_reason=reason)), id=f"finish reason {reason}")
            for reason in ("error", "abort", "ERROR", "insufficient_system_resource", "load")
        ),
    ],
)
def test_what_is_no_whole_answer_is_asked_for_again(answer: Answer) -> None:
    with serving(lambda nth, _: answer if nth == 1 else FINE) as server:
        (found,) = ask(server)
        assert (found.text, server.asked) == ("fine", 2)


@pytest.mark.parametrize(
    "answer",
    [
        http(gzip.compress(body()), "200 OK", "Content-Encoding: gzip"),
        http(body(), "200 OK", "Content-Type: text/plain"),
        http(b"\xef\xbb\xbf" + body()),
        http(body().decode().encode("utf-16")),
        http(
            json.dumps(
                {"choices": [*json.loads(body())["choices"], *json.loads(body("no"))["choices"]]}
            ).encode()
        ),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"1\r\n" + bytes([byte]) + b"\r\n" for byte in body())
        + b"0\r\n\r\n",
    ],
    ids=["gzip", "content type", "byte-order mark", "UTF-16", "several choices", "chunks"],
)
def test_an_answer_in_every_wrapping_is_read(answer: Answer) -> None:
    with serving(lambda *_: answer) as server:
        assert [found.text for found in ask(server)] == ["fine"]


@pytest.mark.parametrize(
    ("reason", "text", "meant"),
    [
        ("sensitive", "", "content_filter"),
        ("recitation", None, "content_filter"),
        ("refusal", "", "content_filter"),
        ("length", None, "length"),
        ("MAX_TOKENS", None, "length"),
        ("model_context_window_exceeded", "par", "length"),
        ("COMPLETE", "all", "stop"),
    ],
)
def test_answers_without_content_say_why(reason: str, text: str | None, meant: str) -> None:
    with serving(lambda *_: http(body(text, finish_reason=reason))) as server:
        (found,) = ask(server)
        assert (found.text, found.finish_reason, server.asked) == (text or "", meant, 1)


@pytest.mark.parametrize("status", ["413 Payload Too Large", "422 Unprocessable Content", "400 Bad Request"])
def test_a_prompt_is_refused_by_itself(status: str) -> None:
    def answer(_: int, sent: dict[str, Any]) -> Answer:
        return http(b"no", status) if sent["messages"][0]["content"] == "q" else FINE

    with serving(answer) as server:
        with pytest.raises(PromptRefusedError, match=status[:3]):
            ask(server)
        assert server.asked == 2, "the prompt and a greeting"


@pytest.mark.parametrize(
    "status", ["302 Found", "301 Moved Permanently", "303 See Other", "300 Multiple Choices"]
)
def test_a_redirect_is_never_followed(status: str) -> None:
    with (
        serving(lambda *_: http(b"", status, "Location: https://login.example.com/?t=secret")) as server,
        pytest.raises(InputError, match=r"a redirect to https://login\.example\.com: set url") as caught,
    ):
        ask(server)
    assert "secret" not in caught.value.message


def test_a_stream_for_which_nobody_asked_is_named_soon() -> None:
    with serving(lambda *_: http(STREAM, "200 OK", "Content-Type: text/event-stream")) as server:
        with pytest.raises(InfrastructureError, match="or streams"):
            ask(server)
        assert server.asked == 8, "four times the prompt, four times a greeting"


@pytest.mark.parametrize("status", ["404 Not Found", "401 Unauthorized", "402 Payment Required"])
def test_what_a_server_refuses_that_has_answered_before_may_pass(status: str) -> None:
    with (
        serving(lambda nth, _: FINE if nth == 1 else http(b"", status)) as server,
        pytest.raises(InfrastructureError, match=f"HTTP {status[:3]}"),
    ):
        ask(server, "first", "second")


def test_cookies_are_not_kept() -> None:
    with serving(lambda *_: http(body(), "200 OK", "Set-Cookie: replica=1; Path=/")) as server:
        ask(server, "first", "second")
        assert not any("cookie" in head for head in server.heads)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e300", None),
        ("soon", None),
        ("", None),
        ("Mon, 01 Jan 2024 00:00:00 GMT", None),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999", None),
    ],
)
def test_when_a_server_wants_to_be_asked_again(value: str, seconds: float | None) -> None:
    assert retry_after(httpx.Response(429, headers={"Retry-After": value})) == seconds


def test_a_date_to_be_asked_again_is_counted_from_now() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(days=100), usegmt=True)
    seconds = retry_after(httpx.Response(429, headers={"Retry-After": date}))
    assert seconds is not None
    assert timedelta(days=99) < timedelta(seconds=seconds) <= timedelta(days=100)


@pytest.mark.parametrize("page", [b"<html>Sign in</html>", b"", b"hello"])
def test_a_target_behind_a_page_does_not_answer_yet(page: bytes) -> None:
    with serving(lambda nth, _: http(page) if nth == 1 else FINE) as server:
        target = Target(ServedModel(base_url=server.base_url, model="model"))
        assert [target.is_answering() for _ in range(2)] == [False, True]
