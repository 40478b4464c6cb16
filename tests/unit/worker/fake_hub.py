"""A fake of the Hugging Face hub: its HTTP interface on a real port, files from a dictionary.

The client is the real huggingface_hub. As over there, large files (LFS) are redirected to a storage host,
which here is the same server under another name.
"""

import hashlib
import json
import re
import socket
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tests.unit.worker.support import servers

PIECE = 65536
"""Bytes that are sent at a time."""

LARGE = (".safetensors", ".onnx", ".parquet", ".bin")
"""Endings of files that are on the storage host."""


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    host: str
    path: str
    authorization: str
    start: int


@dataclass
class FakeHub(servers.TestServer):
    """One repository, ``org/small``, called ``org/old`` before; use as a context manager."""

    files: dict[str, bytes]
    commit: str = "a" * 40
    revision: str = "main"
    kinds: tuple[str, ...] = ("models", "datasets")
    """What the repository is."""
    missing: tuple[str, ...] = ()
    """Files that it lists and does not have."""
    token: str = ""
    gated: bool = False
    budget: int | None = None
    """Bytes that the storage host gives before it breaks every connection; None: any number."""
    wrong_digest: bool = False
    status: int = 200
    """Another one: what every request of the interface gets."""
    asked: list[Asked] = field(default_factory=list)
    sent: int = 0
    """Bytes of content that went out; up to a few MB of them may still be in the buffers of sockets."""
    downloads: list[str] = field(default_factory=list)
    """Files whose content was asked for."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def info(self) -> dict[str, Any]:
        return {"id": "org/small", "sha": self.commit, "private": False, "siblings": [], "tags": []}

    def tree(self) -> list[dict[str, Any]]:
        items = []
        for name, content in self.files.items():
            item = {"type": "file", "path": name, "size": len(content), "oid": git_digest(content)}
            if name.endswith(LARGE):
                digest = "0" * 64 if self.wrong_digest else hashlib.sha256(content).hexdigest()
                item["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
            items.append(item)
        return items


class Handler(servers.Handler, BaseHTTPRequestHandler):
    """Serves the repository of its hub."""

    hub: FakeHub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        self.start = int(ranged[1]) if ranged else None
        self.end = int(ranged[2]) + 1 if ranged and ranged[2] else None
        host = self.headers.get("Host", "").partition(":")[0]
        authorization = self.headers.get("Authorization", "")
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(Asked(self.command, host, path, authorization, self.start or 0))
        if path.startswith("/storage/"):
            self._content(path.removeprefix("/storage/"))
        elif self.hub.status != 200:
            self._answer(self.hub.status, b"{}")
        elif self.hub.token and authorization != f"Bearer {self.hub.token}":
            self._error(401, "GatedRepo" if self.hub.gated else "RepoNotFound")
        elif re.search(r"(^|/)org/old(/|$)", path):
            self._answer(307, b"", Location=path.replace("org/old", "org/small"))
        elif match := re.fullmatch(
            rf"/api/({'|'.join(self.hub.kinds)})/org/small(?:/(revision|tree)/(.+))?", path
        ):
            self._listing(match[2] or "revision", match[3] or self.hub.revision)
        elif match := re.fullmatch(rf"(?:/datasets)?/org/small/resolve/{self.hub.commit}/(.+)", path):
            self._file(match[1])
        else:
            self._error(404, "RepoNotFound")

    def _listing(self, what: str, revision: str) -> None:
        if revision not in {self.hub.revision, self.hub.commit}:
            self._error(404, "RevisionNotFound")
            return
        found = self.hub.info() if what == "revision" else self.hub.tree()
        self._answer(200, json.dumps(found).encode())

    def _file(self, name: str) -> None:
        content = None if name in self.hub.missing else self.hub.files.get(name)
        if content is None:
            self._error(404, "EntryNotFound")
        elif name.endswith(LARGE):
            self._answer(
                302,
                b"",
                Location=f"{self.hub.endpoint.replace('127.0.0.1', 'localhost')}/storage/{quote(name)}",
                **{"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{etag(name, content)}"'},
            )
        else:
            self._content(name)

    def _content(self, name: str) -> None:
        content = self.hub.files[name]
        if self.command == "GET":
            self.hub.downloads.append(name)
        headers = {"ETag": f'"{etag(name, content)}"', "Accept-Ranges": "bytes"}
        if self.start is not None:
            headers["Content-Range"] = f"bytes {self.start}-{(self.end or len(content)) - 1}/{len(content)}"
        body = content[self.start or 0 : self.end]
        given = len(body)
        if self.hub.budget is not None and name.endswith(LARGE) and self.command == "GET":
            given = min(given, self.hub.budget)
            self.hub.budget -= given
        self._answer(200 if self.start is None else 206, body, given, **headers)

    def _error(self, status: int, code: str) -> None:
        self._answer(status, b"{}", **{"X-Error-Code": code, "X-Error-Message": code})

    def _answer(self, status: int, body: bytes, given: int | None = None, /, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"X-Repo-Commit": self.hub.commit, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        for start in range(0, len(body[:given]), PIECE):
            try:
                self.wfile.write(body[:given][start : start + PIECE])
            except OSError:  # whoever asked has enough
                self.close_connection = True
                return
            self.hub.sent += PIECE
        if given is not None and given < len(body):
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


FakeHub.handler, FakeHub.called = Handler, "hub"


def etag(name: str, content: bytes) -> str:
    """What the hub names content by: sha256 of large files, git's digest of others."""
    return hashlib.sha256(content).hexdigest() if name.endswith(LARGE) else git_digest(content)


def git_digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()
