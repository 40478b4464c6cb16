"""A fake of an OpenAI-compatible model server: real HTTP on a real port, answers from a function.

It is a fake of the model only; sockets, bodies, status codes and cut connections are real.
"""

import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """What the fake answers."""

    text: str = "ok"
    finish_reason: str = "stop"
    status: int = 200
    delay: float = 0.0
    body: bytes | None = None
    """Raw body instead of a completion."""
    cut: bool = False
    """Close the connection in the middle of the body."""
    headers: tuple[tuple[str, str], ...] = ()
    beside: dict[str, str] = field(default_factory=dict)
    """Fields of the message beside the text, such as reasoning; the text is then null where empty."""
    drip: float = 0.0
    """Seconds between the bytes of the body."""


Behaviour = Callable[[str, int], Reply]
"""(prompt, how often it was asked before) -> reply."""

Words = tuple[int, Any]
"""Status and JSON, or a text, of a response that is no completion."""
Refuses = Callable[[dict[str, Any]], Words | None]
"""A request's body -> what a server says instead of an answer; None: it answers."""


def says(words: Words) -> Reply:
    status, said = words
    return Reply(status=status, body=said.encode() if isinstance(said, str) else json.dumps(said).encode())


class FakeModelServer:
    """A server in a thread; use as a context manager."""

    def __init__(
        self,
        behaviour: Behaviour,
        models: tuple[str, ...] = ("model",),
        api_key: str = "",
        address: tuple[str, int] = ("127.0.0.1", 0),
        *,
        lists: Words | None = None,
        refuses: Refuses | None = None,
    ) -> None:
        """``lists``: what GET /models gives, not ``models``; ``refuses``: if absent, unknown models."""
        self._lists = lists
        self._refuses = refuses or _unknown_model(models if lists is None else ())
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.ready = True
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(address, self._handler(behaviour, models, api_key))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://{self._server.server_address[0]}:{self.port}/v1"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(fake, behaviour: Behaviour, models: tuple[str, ...], api_key: str):  # noqa: C901, N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                pass

            def _send(
                self, status: int, body: bytes, headers=(), cut: bool = False, drip: float = 0.0
            ) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                for byte in body if drip else ():
                    self.wfile.write(bytes([byte]))
                    time.sleep(drip)
                if not drip:
                    self.wfile.write(body[: len(body) // 2] if cut else body)
                if cut:
                    self.close_connection = True

            def _authorized(self) -> bool:
                return not api_key or self.headers.get("Authorization") == f"Bearer {api_key}"

            def do_GET(self) -> None:
                if not self._authorized():
                    self._send(401, b"{}")
                elif not fake.ready:
                    self._send(503, b"loading")
                elif fake._lists is not None:
                    reply = says(fake._lists)
                    self._send(reply.status, reply.body or b"", reply.headers)
                elif not models:
                    self._send(404, b"{}")
                else:
                    self._send(200, json.dumps({"data": [{"id": name} for name in models]}).encode())

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                if not sent:  # whoever asked is gone
                    self.close_connection = True
                    return
                if not self._authorized() or not fake.ready:
                    self._send(503 if self._authorized() else 401, b"{}")
                    return
                body = json.loads(sent)
                raw = self.path.endswith("/v1/completions")
                if not raw and "messages" not in body:
                    self._send(404, b"{}")
                    return
                prompt = body["prompt"] if raw else body["messages"][-1]["content"]
                with fake._lock:
                    nth = fake.asked[prompt]
                    fake.asked[prompt] += 1
                    fake.bodies.append(body)
                    fake.at_once += 1
                    fake.most_at_once = max(fake.most_at_once, fake.at_once)
                try:
                    words = fake._refuses(body)
                    reply = behaviour(prompt, nth) if words is None else says(words)
                    time.sleep(reply.delay)
                    choice = {"index": 0, "finish_reason": reply.finish_reason}
                    content = reply.text or None if reply.beside else reply.text
                    message = {"role": "assistant", "content": content, **reply.beside}
                    choice |= {"text": reply.text} if raw else {"message": message}
                    usage = {
                        "prompt_tokens": len(prompt.split()),
                        "completion_tokens": len(reply.text.split()),
                    }
                    answer = json.dumps({"choices": [choice], "usage": usage}).encode()
                    if body.get("stream"):
                        answer = in_events(message, reply.finish_reason, usage)
                    with fake._lock:
                        fake.at_once -= 1
                        good = reply.status == 200 and not reply.cut and not reply.drip
                        fake.answered[prompt] += good and reply.body is None
                    body = answer if reply.body is None else reply.body
                    self._send(reply.status, body, reply.headers, reply.cut, reply.drip)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        return Handler


def in_events(message: dict[str, Any], reason: str, usage: dict[str, int]) -> bytes:
    """A message as server-sent events, a word in each."""
    words = re.findall(r"\S+\s*|\s+", message["content"] or "")
    deltas = [message | {"content": ""}, *({"content": word} for word in words)]
    events: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    lines = [json.dumps(event) for event in (*events, {"choices": [], "usage": usage})]
    return "".join(f"data: {line}\n\n" for line in (*lines, "[DONE]")).encode()


def _unknown_model(models: tuple[str, ...]) -> Refuses:
    """The words of vLLM for a model that it does not serve."""

    def refuses(body: dict[str, Any]) -> Words | None:
        if not models or body["model"] in models:
            return None
        said = f"The model `{body['model']}` does not exist."
        return 404, {"error": {"message": said, "type": "NotFoundError", "param": "model", "code": 404}}

    return refuses


def main() -> None:
    """A server in a process of its own, to be killed; arguments: port, file for what it is asked."""
    port = int(sys.argv[1])
    log = Path(sys.argv[2]).open("a", buffering=1)  # noqa: SIM115 - open to the end

    def behaviour(prompt: str, _nth: int) -> Reply:
        log.write(f"{prompt}\n")
        return Reply(f"answer to {prompt}", delay=0.05)

    with FakeModelServer(behaviour, address=("127.0.0.1", port)):
        print("ready", flush=True)  # noqa: T201 - for who started it
        threading.Event().wait()


if __name__ == "__main__":
    main()
