"""One file behind ``https://``, or behind ``http://`` where no token is needed.

A token goes to the host that the specification names and to no other: redirects elsewhere are followed
without it, and never from an encrypted connection to one that is not.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from safety_worker.errors import InfrastructureError, InputError
from safety_worker.transport.download import (
    TRY_AGAIN,
    CutOffError,
    ReadFrom,
    download,
    refused_for_now,
    stream,
)
from safety_worker.transport.file_kinds import check_type
from safety_worker.transport.meter import Meter
from safety_worker.transport.places import RemoteFile, check_space
from safety_worker.transport.ranges import check_range, fetch_large, range_header
from safety_worker.transport.uris import shown_uri

TIMEOUT_SECONDS = 60.0
"""Longest silence of a server."""

MAX_REDIRECTS = 5
"""Redirects that are followed."""


class WebPlace:
    """A file at an address.

    Parameters
    ----------
    uri
        ``https://host/path`` or ``http://host/path``.
    token
        Bearer token; empty: none. Not for ``http://``.

    Raises
    ------
    InputError
        If the address names no file, or a token would go in the clear.
    """

    def __init__(self, uri: str, token: str = "") -> None:
        self._uri = shown_uri(uri)
        self._address = uri
        self._encrypted = urlsplit(uri).scheme == "https"
        if token and not self._encrypted:
            raise InputError(
                "TokenInClear",
                f"{self._uri} would carry the token in the clear: use https://, or leave tokenSecretRef out",
            )
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.name = unquote(urlsplit(uri).path).rpartition("/")[2]
        if not self.name:
            raise InputError("InvalidUri", f"{self._uri}: name a file, not a folder")
        self._size: int | None = None
        self._ranged = False
        self._begins_later = True
        self._identity = ""

    def files(self) -> list[RemoteFile]:
        """The one file; where the server does not say how large it is, its size is taken for 0."""
        try:
            with self._client() as client, self._ask(client, 0) as response:
                check_type(self.name, response.headers.get("Content-Type", ""))
                self._remember(response)
        except CutOffError as error:
            raise InfrastructureError("ServerUnreachable", f"{self._uri}: {error}") from error
        return [RemoteFile(self.name, self._size or 0, ranged=self._ranged and bool(self._size))]

    def get(self, files: Sequence[RemoteFile], target: Path, meter: Meter) -> None:
        """Fetch the file."""
        assert [file.name for file in files] == [self.name]
        with self._client() as client:
            read = partial(self._read, client)
            if self._size is not None and self._ranged:
                fetch_large(self._uri, read, self._size, self._identity, target / self.name, meter=meter)
            else:
                checked = partial(self._checked, read, target)
                download(self._uri, checked, self._size, self._identity, target / self.name, meter=meter)

    @contextmanager
    def reading(self, file: RemoteFile) -> Iterator[ReadFrom]:
        """Read the file in pieces; each read starts over where the server cannot begin later."""
        assert file.name == self.name
        with self._client() as client:
            yield lambda offset: self._read(client, offset)

    def _client(self) -> httpx.Client:
        return httpx.Client(
            timeout=TIMEOUT_SECONDS,
            follow_redirects=True,
            max_redirects=MAX_REDIRECTS,
            headers={"Accept-Encoding": "identity"},
            event_hooks={"request": [self._stay_encrypted]},
        )

    def _stay_encrypted(self, request: httpx.Request) -> None:
        if self._encrypted and request.url.scheme != "https":
            raise InputError(
                "UnsafeRedirect", f"{self._uri} leads to an address that is not encrypted: refused"
            )

    @contextmanager
    def _ask(self, client: httpx.Client, offset: int, end: int | None = None) -> Iterator[httpx.Response]:
        headers = dict(self._headers)
        if asked := range_header(offset, end):
            headers |= asked | {"If-Range": self._identity}
        try:
            with client.stream("GET", self._address, headers=headers) as response:
                self._check(response)
                yield response
        except httpx.TooManyRedirects as error:
            raise InputError(
                "NotFound", f"{self._uri} is redirected in a circle: check the address"
            ) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            message = f"{self._uri} leads to an address that cannot be read: check it"
            raise InputError("NotFound", message) from error
        except httpx.TransportError as error:
            raise CutOffError(type(error).__name__) from error

    def _remember(self, response: httpx.Response) -> None:
        length = response.headers.get("Content-Length", "")
        self._size = int(length) if length.isdigit() else None
        self._ranged = response.headers.get("Accept-Ranges", "") == "bytes"
        self._identity = _identity(response)

    def _checked(self, read: ReadFrom, target: Path, offset: int) -> Iterator[bytes]:
        """Chunks from an offset on; where nobody knows how many come, each is given only if there is room."""
        for chunk in read(offset):
            if self._size is None:
                check_space(self._uri, target, len(chunk))
            yield chunk

    def _read(self, client: httpx.Client, offset: int, end: int | None = None) -> Iterator[bytes]:
        resumed = offset if self._identity and self._begins_later else 0
        with self._ask(client, resumed, end) as response:
            if _identity(response) not in {"", self._identity}:
                raise InfrastructureError("ChangedWhileRead", f"{self._uri} changed while it was read")
            if end is not None:
                check_range(response, offset, self._size or 0)
            # Raw: what a server packs on its way is read as any packed file is, and has its size.
            yield from stream(response, response.iter_raw(), offset)

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in TRY_AGAIN:
            raise refused_for_now(response)
        if response.is_success:
            return
        if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:  # all was there but the end of the answer
            self._begins_later = False
            raise CutOffError(f"HTTP {status}")
        if status in (401, 403):
            why = "the token that tokenSecretRef names was refused" if self._headers else "set tokenSecretRef"
            raise InputError("NotReadable", f"{self._uri} may not be read (HTTP {status}): {why}")
        raise InputError("NotFound", f"{self._uri} cannot be read (HTTP {status}): check the address")


def _identity(response: httpx.Response) -> str:
    """What changes with the content; empty where the server says nothing that can be relied on."""
    strong = str(response.headers.get("ETag", ""))
    return (
        strong if strong and not strong.startswith("W/") else str(response.headers.get("Last-Modified", ""))
    )
