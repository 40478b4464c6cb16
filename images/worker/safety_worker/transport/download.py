"""Downloads that go on where they were cut off, in this pod or in the next one on the same folder."""

import hashlib
import re
import time
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from safety_worker.artifacts.digests import TEMPORARY_PREFIX
from safety_worker.artifacts.files import fsync_path
from safety_worker.errors import InfrastructureError
from safety_worker.transport.meter import Meter

TRIES = 5
"""Connections in a row without a byte before the pod gives up."""

PAUSE_SECONDS = 1.0
"""Pause before the second try; it doubles with each further one."""

LONGEST_WISH_SECONDS = 366 * 24 * 3600
"""A server that asks to wait for longer asks for nothing."""

MAX_PAUSE_SECONDS = 600.0
"""Longest pause that a server is granted: hubs count requests over five minutes."""

TRY_AGAIN = frozenset({202, 408, 425, 429, 500, 502, 503, 504})
"""HTTP answers that may be others later; 202 says that the file is being made."""

_BEGIN = re.compile(r"bytes (\d+)-")

ReadFrom = Callable[[int], Iterator[bytes]]
"""Reads on from an offset in bytes. Raises :class:`CutOffError` where the connection ends too early."""


class CutOffError(Exception):
    """A connection ended before the content did, or was refused for now; the server may ask for a pause."""

    def __init__(self, why: str, after_seconds: float | None = None) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds or 0.0


def named_mark(target: Path, identity: str, ending: str) -> Path:
    """A file next to ``target`` about its content of one identity."""
    mark = hashlib.sha256(f"{target.name}\0{identity}".encode()).hexdigest()[:16]
    return target.parent / f"{TEMPORARY_PREFIX}{mark}.{ending}"


def done_mark(target: Path, identity: str) -> Path:
    """The file whose being there says that ``target`` was completed under this identity."""
    return named_mark(target, identity, "done")


def download(
    uri: str,
    read_from: ReadFrom,
    size: int | None,
    identity: str,
    target: Path,
    *,
    meter: Meter | None = None,
) -> None:
    """Write what ``read_from`` gives to ``target``, which appears when it is complete.

    Parameters
    ----------
    uri
        For messages.
    read_from
        The content.
    size
        Bytes; None where the server does not say, which is believed when the content ends.
    identity
        What changes with the content, such as an ETag: what was begun under another one is not continued, and
        where nothing is known (empty) each connection starts over.
    target
        The file. It is left alone where it was completed under the same identity.
    meter
        Told what arrives.

    Raises
    ------
    InfrastructureError
        If the connection keeps breaking, or more comes than was announced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part, done, meter = named_mark(target, identity, "part"), done_mark(target, identity), meter or Meter()
    if identity and done.exists() and target.exists() and size in {None, target.stat().st_size}:
        meter.found(target.stat().st_size)
        return
    failures = 0
    if identity and part.exists():
        meter.found(part.stat().st_size)
    while True:
        if not identity:
            part.unlink(missing_ok=True)
        offset = part.stat().st_size if part.exists() else 0
        if size is not None and offset > size:
            part.unlink()
            continue
        try:
            _append(part, read_from(offset) if offset != size else iter(()), meter)
        except CutOffError as error:
            grown = identity and part.exists() and part.stat().st_size > offset
            failures = 1 if grown else failures + 1
            pause(uri, failures, error)
            continue
        found = part.stat().st_size
        if size is not None and found != size:
            if found > size:
                part.unlink()
            raise InfrastructureError("DownloadCutOff", f"{uri}: {found} bytes came of {size}")
        fsync_path(part)
        part.replace(target)
        done.touch()
        return


def steadily(uri: str, read_from: ReadFrom, size: int | None, start: int = 0) -> Generator[bytes]:
    """Content from ``start`` on, over as many connections as it takes; nothing is written.

    Whoever has enough closes the iterator, which ends the connection.

    Parameters
    ----------
    uri, read_from
        As of :func:`download`.
    size
        Bytes of the whole content; None where the server does not say.
    start
        First byte, from 0.

    Raises
    ------
    InfrastructureError
        If the connection keeps breaking.
    """
    offset, failures = start, 0
    while size is None or offset < size:
        try:
            for chunk in read_from(offset):
                offset += len(chunk)
                failures = 0 if chunk else failures
                yield chunk
            if size is None:
                return
            cut_off = CutOffError(f"{offset} bytes came of {size}")
        except CutOffError as error:
            cut_off = error
        if size is None or offset < size:
            failures += 1
            pause(uri, failures, cut_off)


def pause(uri: str, failures: int, error: CutOffError) -> None:
    """Wait before the next connection, as long as the server asks for and ever longer.

    Raises
    ------
    InfrastructureError
        After so many failures in a row.
    """
    if failures >= TRIES:
        raise InfrastructureError(
            "DownloadCutOff", f"{uri}: the connection keeps breaking: {error}"
        ) from error
    time.sleep(max(PAUSE_SECONDS * 2 ** (failures - 1), min(error.after_seconds, MAX_PAUSE_SECONDS)))


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait, as a number or as a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return seconds if 0 < seconds < LONGEST_WISH_SECONDS else None


def refused_for_now(response: httpx.Response) -> CutOffError:
    """What to raise for one of :data:`TRY_AGAIN`."""
    return CutOffError(f"HTTP {response.status_code}", retry_after(response))


def stream(response: httpx.Response, chunks: Iterator[bytes], offset: int) -> Iterator[bytes]:
    """The content of an HTTP answer from an offset on, wherever the server began.

    Raises
    ------
    CutOffError
        If the connection ends too early, or the server began behind the offset.
    """
    begin = _BEGIN.match(response.headers.get("Content-Range", f"bytes {offset}-"))
    skip = offset - int(begin[1] if begin and response.status_code == httpx.codes.PARTIAL_CONTENT else 0)
    if skip < 0:
        raise CutOffError(f"the server began {-skip} bytes behind what it was asked for")
    try:
        for chunk in chunks:
            yield chunk[skip:]
            skip = max(0, skip - len(chunk))
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise CutOffError(type(error).__name__) from error


def _append(part: Path, chunks: Iterator[bytes], meter: Meter) -> None:
    with part.open("ab") as file:
        for chunk in chunks:
            file.write(chunk)
            meter.arrived(len(chunk))
