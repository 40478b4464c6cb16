"""A stand-in for a registry of images: blobs and manifests over HTTP, behind tokens, on a real port."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from tests.unit.worker.support import servers

TOKEN = "Bearer a-token"


@dataclass
class StandInRegistry(servers.TestServer):
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
    instead: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    """By the end of a path: what is answered there in place of the truth, and with which headers."""

    @property
    def name(self) -> str:
        return f"localhost:{self.port}"


class Handler(servers.Handler, BaseHTTPRequestHandler):
    """The interface of the distribution specification, as far as pushing takes it."""

    registry: StandInRegistry

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        wrong = [answer for end, answer in self.registry.instead.items() if path.endswith(end)]
        if wrong:
            self.answer(200, wrong[0][0], **wrong[0][1])
        elif path == "/token":
            login = base64.b64encode(f"user:{self.registry.password}".encode()).decode()
            known = self.headers.get("Authorization") == f"Basic {login}"
            self.answer(200 if known else 401, json.dumps({"token": "a-token"}).encode() if known else b"{}")
        elif self._may():
            match = re.fullmatch(r"/v2/team/small/(blobs|manifests)/(.+)", path)
            there = {"blobs": self.registry.blobs, "manifests": self.registry.manifests}
            found = there[match[1]].get(match[2]) if match else None
            self.answer(404 if found is None else 200, found or b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        if self._may() and self.registry.refusal:
            status, code = self.registry.refusal
            self.answer(status, json.dumps({"errors": [{"code": code}]}).encode())
        elif self.headers.get("Authorization") == TOKEN:
            self.answer(202, Location="/v2/team/small/blobs/uploads/1?state=x")

    def do_PUT(self) -> None:
        body = self.body()
        if not self._may():
            return
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        parts = urlsplit(self.path)
        if parts.path.startswith("/v2/team/small/blobs/uploads/"):
            self.registry.on_upload(len(self.registry.uploads))
            self.registry.uploads.append(digest)
            same = parse_qs(parts.query)["digest"] == [digest]
            self.registry.blobs |= {digest: body} if same else {}
            self.answer(201 if same else 400)
        else:
            manifest = json.loads(body)
            whole = all(i["digest"] in self.registry.blobs for i in [manifest["config"], *manifest["layers"]])
            tag = parts.path.rpartition("/")[2]
            self.registry.manifests |= {tag: body, digest: body} if whole else {}
            self.answer(201 if whole else 400)

    def _may(self) -> bool:
        if self.headers.get("Authorization") == TOKEN:
            return True
        challenge = f'Bearer realm="http://{self.registry.name}/token",service="stand-in"'
        self.answer(401, **{"WWW-Authenticate": challenge})
        return False


StandInRegistry.handler, StandInRegistry.called = Handler, "registry"
