"""KubeRay's real operator as a process, and a stand-in for what it speaks to in the head of a cluster.

There is no kubelet, so no Ray runs: a test says what the pods do, and what the Ray job came to.
"""

import json
import os
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.integration.apiserver import CACHE, ApiServer


@contextmanager
def running_kuberay(server: ApiServer, folder: Path, proxy: str) -> Iterator[Path]:
    """KubeRay's operator, which speaks to heads of clusters through a proxy; gives its log."""
    crds = str((CACHE / "bin/kuberay-crds").resolve())  # kubectl follows no links to folders
    server.kubectl("apply", "--server-side", "-f", crds)
    server.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", crds)
    command = [
        str(CACHE / "bin/kuberay"),
        *("--metrics-addr=0", "--health-probe-bind-address=0", "--enable-leader-election=false"),
    ]
    path = folder / "kuberay.log"
    with path.open("ab") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | {"KUBECONFIG": str(server.kubeconfig), "HTTP_PROXY": proxy, "NO_PROXY": ""},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield path
    finally:
        process.kill()
        process.wait(timeout=10)


@dataclass
class HeadStandIn:
    """Ray's job server in one namespace: takes a submission and says what the test wants."""

    submitted: list[dict[str, Any]] = field(default_factory=list)
    status: str = "RUNNING"
    message: str = ""

    def answer(self, name: str) -> dict[str, Any] | None:
        """What is known of a job; None before it is submitted."""
        if not any(job["submission_id"] == name for job in self.submitted):
            return None
        return {"submission_id": name, "status": self.status, "message": self.message, "entrypoint": ""}


Heads = defaultdict[str, HeadStandIn]
"""By namespace: the heads' names are <service>.<namespace>.svc..."""


@contextmanager
def running_heads() -> Iterator[tuple[str, Heads]]:
    """The proxy behind which all heads are; gives its URL."""
    heads: Heads = defaultdict(HeadStandIn)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self._head().answer(self.path.rstrip("/").rsplit("/", 1)[-1])
            self._reply(200 if found else 404, found or {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.endswith("/stop"):
                self._reply(200, {"stopped": True})
                return
            job = json.loads(body)
            self._head().submitted.append(job)
            self._reply(200, {"submission_id": job["submission_id"]})

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def _head(self) -> HeadStandIn:
            return heads[str(urlsplit(self.path).hostname).split(".")[1]]

        def _reply(self, code: int, value: dict[str, Any]) -> None:
            text = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", heads
        finally:
            server.shutdown()
            thread.join()
