"""A stand-in for NVIDIA's NIM: what is documented of it, and no model.

It reads the variables of the 1.x and the 2.x line, wants its model as a folder, listens at NIM_SERVER_PORT,
is alive at once and ready when it has "loaded", answers under NIM_SERVED_MODEL_NAME, and gives 404 for what
the proxy of a NIM does not expose. It says what it was told at /v1/metadata, which tests read.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODEL_VARIABLES = {"1": "NIM_MODEL_NAME", "2": "NIM_MODEL_PATH"}


class StandIn(ThreadingHTTPServer):
    """A server that is alive and, later, ready."""

    name = os.environ.get("NIM_SERVED_MODEL_NAME", "")
    ready = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """The documented routes."""

    server: StandIn

    def do_GET(self) -> None:
        found: dict[str, tuple[int, Any]] = {
            "/v1/health/live": (200, {"status": "live"}),
            "/v1/health/ready": (200, {}) if self.server.ready.is_set() else (503, {"status": "not ready"}),
            "/v1/models": (200, {"data": [{"id": self.server.name}]}),
            "/v1/metadata": (200, {k: v for k, v in os.environ.items() if k.startswith(("NIM_", "NGC_"))}),
        }
        self._answer(*found.get(self.path, (404, {})))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/load":  # only of the stand-in: it loads when a test says so
            self.server.ready.set()
            self._answer(200, {})
        elif self.path != "/v1/chat/completions" or body["model"] != self.server.name:
            self._answer(404, {})
        else:
            message = {"role": "assistant", "content": "Hello."}
            self._answer(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def _answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main(line: str) -> None:
    """Serve as a NIM of the line 1 or 2 does; ends with a message where the model is none."""
    folder = Path(os.environ.get(MODEL_VARIABLES[line], ""))
    if not folder.is_absolute() or not (folder / "config.json").is_file():
        sys.exit(f"{MODEL_VARIABLES[line]} is no folder with a model: {folder}")
    cache = Path(os.environ["NIM_CACHE_PATH"])
    if not cache.is_absolute():
        sys.exit("NIM_CACHE_PATH is not absolute")
    server = StandIn(("127.0.0.1", int(os.environ["NIM_SERVER_PORT"])), Handler)
    sys.stdout.write(f"listening at {server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
