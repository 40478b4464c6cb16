"""A stand-in for Google's store of objects: its JSON interface, as far as gcsfs uses it."""

import base64
import contextlib
import hashlib
import importlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest


class GoogleStore(BaseHTTPRequestHandler):
    """Objects of one bucket: lists, describes, gives, takes and removes them."""

    objects: ClassVar[dict[str, bytes]] = {}
    metadata: ClassVar[dict[str, dict[str, str]]] = {}
    ranges: ClassVar[list[str]] = []
    uploads: ClassVar[list[str]] = []
    """Names of what has arrived whole, in order."""
    parts: ClassVar[dict[str, bytearray]] = {}
    status: ClassVar[int] = 200

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked has enough
            super().handle()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        found = re.fullmatch(r"(/download)?/storage/v1/b/bucket(/o)?(?:/(.+))?", parts.path)
        if self.status != 200 or found is None:
            self._answer(self.status if self.status != 200 else 404, b'{"error": {"message": "no"}}')
        elif found[3] is None:
            prefix = parse_qs(parts.query).get("prefix", [""])[0]
            items = [self._describe(name) for name in sorted(self.objects) if name.startswith(prefix)]
            self._answer(200, json.dumps({"kind": "storage#objects", "items": items}).encode())
        elif unquote(found[3]) not in self.objects:
            self._answer(404, b'{"error": {"message": "no such object"}}')
        elif found[1]:
            self._content(self.objects[unquote(found[3])])
        else:
            self._answer(200, json.dumps(self._describe(unquote(found[3]))).encode())

    def do_POST(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        name = query.get("name", [""])[0]
        if self.status != 200 or not urlsplit(self.path).path.startswith("/upload/storage/v1/b/bucket/o"):
            self._answer(self.status if self.status != 200 else 404, b'{"error": {"message": "no"}}')
        elif "part" in query:
            self.parts[name] += body
            end = int(self.headers["Content-Range"].rpartition("/")[2])
            self._keep(name, bytes(self.parts[name])) if len(self.parts[name]) == end else self._more(name)
        elif query["uploadType"] == ["resumable"]:
            self.parts[name], self.metadata[name] = bytearray(), json.loads(body)["metadata"]
            address = f"http://{self.headers['Host']}/upload/storage/v1/b/bucket/o?part=1&name={quote(name)}"
            self._answer(200, b"{}", ("Location", address))
        else:
            said, content = body.split(b"\n\n", 2)[1:]
            said, content = said.removesuffix(content), content.removesuffix(b"\n--==0==--")
            about = json.loads(said.partition(b"\n--==0==")[0])
            self.metadata[about["name"]] = about["metadata"]
            self._keep(about["name"], content)

    def do_DELETE(self) -> None:
        found = self.objects.pop(unquote(urlsplit(self.path).path.rpartition("/")[2]), None)
        self._answer(404 if found is None else 204, b"")

    def _more(self, name: str) -> None:
        self._answer(308, b"", ("Range", f"bytes=0-{len(self.parts[name]) - 1}"))

    def _keep(self, name: str, content: bytes) -> None:
        self.objects[name] = content
        self.uploads.append(name)
        self._answer(200, json.dumps(self._describe(name)).encode())

    def _describe(self, name: str) -> dict[str, Any]:
        digest = base64.b64encode(hashlib.md5(self.objects[name], usedforsecurity=False).digest()).decode()
        size = str(len(self.objects[name]))
        found = {"name": name, "bucket": "bucket", "size": size, "md5Hash": digest, "etag": digest}
        return found | ({"metadata": self.metadata[name]} if name in self.metadata else {})

    def _content(self, content: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        self.ranges.append(self.headers.get("Range", ""))
        start, end = (int(wanted[1]), int(wanted[2] or len(content) - 1)) if wanted else (0, len(content) - 1)
        self._answer(206 if wanted else 200, content[start : end + 1])

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def google_store(
    monkeypatch: pytest.MonkeyPatch, objects: Mapping[str, bytes]
) -> Iterator[type[GoogleStore]]:
    """A store with some objects, which gcsfs asks in place of Google's."""
    own = {"objects": dict(objects), "metadata": {}, "ranges": [], "uploads": [], "parts": {}}
    handler = type("Own", (GoogleStore,), own)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    # As the worker does, which sets it for good.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    importlib.import_module("gcsfs").GCSFileSystem.clear_instance_cache()
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()
