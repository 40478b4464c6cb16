"""Servers for transports: one for HTTPS with a certificate of its own, and a proxy that cuts connections.

Sockets, TLS, ranges, redirects and cut-off bodies are real; what is fake is whose server it is.
"""

import contextlib
import re
import socket
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme
from tests.unit.worker.support import servers

PIECE = 65536
"""Bytes that are sent at a time."""


@dataclass
class FakeWeb(servers.TestServer):
    """Files behind ``https://``, or ``http://``; use as a context manager."""

    authority: trustme.CA
    files: dict[str, bytes]
    token: str = ""
    redirects: dict[str, str] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    """For each answer in turn: bytes after which it breaks off; 0: it does not."""
    status: int = 200
    busy: list[int] = field(default_factory=list)
    """Statuses of the first answers for content, without it."""
    headers: dict[str, str] = field(default_factory=dict)
    """More headers of every answer."""
    shift: int = 0
    """Bytes behind the wanted one from which it goes on."""
    etag: str = '"v1"'
    media_type: str = ""
    says_length: bool = True
    encrypted: bool = True
    ranges: bool = True
    """Whether it begins where it is asked to."""
    no_end: bool = False
    """Whether it goes on behind the end that it was asked for."""
    sent: int = 0
    """Bytes that went out; up to a few MB of them may still be in the buffers of sockets."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Path, Authorization and Range of each request."""

    @property
    def url(self) -> str:
        return f"http{'s' if self.encrypted else ''}://localhost:{self.port}"

    def prepare(self, server: ThreadingHTTPServer) -> None:
        if self.encrypted:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)


class Handler(servers.Handler, BaseHTTPRequestHandler):
    """Serves the files of its server."""

    protocol_version = "HTTP/1.0"  # the end of the connection is that of an answer without a length
    web: FakeWeb

    def do_GET(self) -> None:
        web, authorization = self.web, self.headers.get("Authorization", "")
        path = self.path.partition("?")[0]
        web.asked.append((self.path, authorization, self.headers.get("Range", "")))
        if path in web.redirects:
            self._answer(302, b"", Location=web.redirects[path])
        elif web.token and authorization != f"Bearer {web.token}":
            self._answer(401, b"who are you")
        elif web.busy:
            self._answer(web.busy.pop(0), b"wait")
        elif web.status != 200 or path not in web.files:
            self._answer(web.status if web.status != 200 else 404, b"no")
        else:
            self._content(web.files[path])

    def _content(self, content: bytes) -> None:
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not self.web.ranges or self.headers.get("If-Range") != self.web.etag:
            ranged = None
        start = int(ranged[1]) + self.web.shift if ranged else 0
        end = int(ranged[2]) + 1 if ranged and ranged[2] and not self.web.no_end else len(content)
        if ranged and start >= len(content):
            self._answer(416, b"")
            return
        headers = {"ETag": self.web.etag} if self.web.etag else {}
        headers |= {"Accept-Ranges": "bytes"} if self.web.ranges else {}
        headers |= {"Content-Type": self.web.media_type} if self.web.media_type else {}
        headers |= {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"} if ranged else {}
        self._answer(206 if ranged else 200, content[start:end], cut=True, **headers)

    def _answer(self, status: int, body: bytes, *, cut: bool = False, **headers: str) -> None:
        self.send_response(status)
        for name, value in (self.web.headers | headers).items():
            self.send_header(name, value)
        if self.web.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        limit = self.web.cuts.pop(0) if cut and self.web.cuts else 0
        content = body[:limit] if limit else body
        for begin in range(0, len(content), PIECE):
            try:
                self.wfile.write(content[begin : begin + PIECE])
            except OSError:  # whoever asked has enough
                self.close_connection = True
                return
            self.web.sent += PIECE
        if limit:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


FakeWeb.handler, FakeWeb.called = Handler, "web"


class CuttingProxy:
    """Passes bytes on to a port; after ``limit`` bytes of answers it breaks every connection; 0: never."""

    def __init__(self, port: int, limit: int = 0) -> None:
        self.limit = limit
        self.passed = 0
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: Any, sink: Any, answers: bool) -> None:
        with source, sink:
            try:
                while data := source.recv(4096):
                    self.passed += len(data) if answers else 0
                    if answers and self.limit and self.passed > self.limit:
                        break
                    sink.sendall(data)
            except OSError:
                pass
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
