"""A stand-in for a registry of images: blobs and manifests over HTTP, behind tokens, on a real port."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

TOKEN = "Bearer a-token"


@dataclass
class StandInRegistry:
    """One repository; use as a context manager."""

    password: str = "topsecret"
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    """By tag and by digest."""
    uploads: list[str] = field(default_factory=list)
    """Digests of the blobs that were sent."""
    on_upload: Callable[[int], None] = lambda _number: None
    """Called before the so-manieth blob is taken."""
    refusal: tuple[int, str] | None = None
    """Status and code of the error that every upload gets."""

    @property
    def name(self) -> str:
        return f"localhost:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"registry": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Handler(BaseHTTPRequestHandler):
    """The interface of the distribution specification, as far as pushing takes it."""

    protocol_version = "HTTP/1.1"
    registry: StandInRegistry

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked is gone
            super().handle()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/token":
            login = base64.b64encode(f"user:{self.registry.password}".encode()).decode()
            known = self.headers.get("Authorization") == f"Basic {login}"
            self._answer(200 if known else 401, json.dumps({"token": "a-token"}).encode() if known else b"{}")
        elif self._may():
            match = re.fullmatch(r"/v2/team/small/(blobs|manifests)/(.+)", path)
            there = {"blobs": self.registry.blobs, "manifests": self.registry.manifests}
            found = there[match[1]].get(match[2]) if match else None
            self._answer(404 if found is None else 200, found or b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        if self._may() and self.registry.refusal:
            status, code = self.registry.refusal
            self._answer(status, json.dumps({"errors": [{"code": code}]}).encode())
        elif self.headers.get("Authorization") == TOKEN:
            self._answer(202, Location="/v2/team/small/blobs/uploads/1?state=x")

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._may():
            return
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        parts = urlsplit(self.path)
        if parts.path.startswith("/v2/team/small/blobs/uploads/"):
            self.registry.on_upload(len(self.registry.uploads))
            self.registry.uploads.append(digest)
            same = parse_qs(parts.query)["digest"] == [digest]
            self.registry.blobs |= {digest: body} if same else {}
            self._answer(201 if same else 400)
        else:
            manifest = json.loads(body)
            whole = all(i["digest"] in self.registry.blobs for i in [manifest["config"], *manifest["layers"]])
            tag = parts.path.rpartition("/")[2]
            self.registry.manifests |= {tag: body, digest: body} if whole else {}
            self._answer(201 if whole else 400)

    def _may(self) -> bool:
        if self.headers.get("Authorization") == TOKEN:
            return True
        challenge = f'Bearer realm="http://{self.registry.name}/token",service="stand-in"'
        self._answer(401, **{"WWW-Authenticate": challenge})
        return False

    def _answer(self, status: int, body: bytes = b"", /, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
