"""A stand-in for a content-safety model that answers at once: a few words are unsafe, all others are safe."""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

UNSAFE = re.compile(r"bomb|threaten|hack into", re.IGNORECASE)
SAMPLES = re.compile(r"<BEGIN CONVERSATION>.*<END CONVERSATION>", re.DOTALL)
"""What a guard is asked about, behind the categories of its prompt, which name unsafe things."""


class Handler(BaseHTTPRequestHandler):
    """OpenAI's chat API."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """For probes."""
        self._answer({})

    def do_POST(self) -> None:
        """A verdict."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = "\n".join(str(message["content"]) for message in body["messages"])
        found = SAMPLES.search(prompt)
        word = "unsafe" if UNSAFE.search(found[0] if found else prompt) else "safe"
        verdict = {"User Safety": word, "Response Safety": word}
        message = {"role": "assistant", "content": json.dumps(verdict)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        head = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"]}
        self._answer(head | {"choices": [choice], "usage": usage})

    def _answer(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
