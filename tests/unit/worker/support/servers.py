"""What servers of tests have in common: a port of their own while a block lasts, and plain answers."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Self


class Handler(BaseHTTPRequestHandler):
    """Answers requests; an attribute of the name that its server says is that server."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked is gone, or has enough
            super().handle()

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def answer(self, status: int, body: bytes = b"", /, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class TestServer:
    """A real server on a port of 127.0.0.1; use as a context manager."""

    __test__ = False
    handler: ClassVar[type[Handler]]
    called: ClassVar[str]
    """Attribute of the handler that is this server."""

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def prepare(self, server: ThreadingHTTPServer) -> None:
        """Change the server before it listens."""

    def __enter__(self) -> Self:
        own = type("Own", (self.handler,), {self.called: self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), own)
        self._server.daemon_threads = True
        self.prepare(self._server)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
