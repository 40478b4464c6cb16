"""Large files in ranges, over several connections: one connection seldom fills a link.

What has arrived is on the disk and noted range by range, so that this pod or the next one on the same folder
goes on with the rest.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from safety_worker.artifacts.files import fsync_path
from safety_worker.errors import InfrastructureError
from safety_worker.transport.download import CutOffError, done_mark, download, named_mark, pause
from safety_worker.transport.meter import Meter

RANGE_BYTES = 32 * 1024 * 1024
"""Bytes of a range: what is fetched again at most, for each connection, after a kill."""

CONNECTIONS = 8
"""Connections of a file."""

LARGE_BYTES = 2 * RANGE_BYTES
"""Smaller files come over one connection, several files at a time."""

ReadRange = Callable[[int, int], Iterator[bytes]]
"""Reads from one offset up to before another. Raises CutOffError where the connection ends too early, and
RangesIgnoredError where a server sends something else than it was asked for."""


class RangesIgnoredError(Exception):
    """A server does not answer with the range that it was asked for."""


class Ranges:
    """A file that arrives in ranges.

    Parameters
    ----------
    uri, size, identity, target
        As of :func:`download`; both size and identity are known.
    meter
        Told what arrives.
    """

    def __init__(self, uri: str, size: int, identity: str, target: Path, *, meter: Meter) -> None:
        self._uri, self._size, self._meter = uri, size, meter
        self._part = named_mark(target, identity, "ranges")
        self._notes = named_mark(target, identity, "noted")
        self._target, self._done = target, done_mark(target, identity)
        self._lock = threading.Lock()
        self._failures = 0
        self._stop = threading.Event()

    def fetch(self, read: ReadRange) -> None:
        """Fetch what is missing.

        Raises
        ------
        InfrastructureError
            If the connections keep breaking.
        RangesIgnoredError
            If the server does not know ranges; what was begun is removed.
        """
        self._target.parent.mkdir(parents=True, exist_ok=True)
        if self._done.exists() and self._target.exists() and self._target.stat().st_size == self._size:
            self._meter.found(self._size)
            return
        missing = [begin for begin in range(0, self._size, RANGE_BYTES) if begin not in self._noted()]
        descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            os.truncate(descriptor, self._size)
            self._meter.found(self._size - sum(self._length(begin) for begin in missing))
            self._fetch_all(descriptor, missing, read)
        except RangesIgnoredError:
            self._part.unlink()
            self._notes.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        fsync_path(self._part)
        self._part.replace(self._target)
        self._done.touch()
        self._notes.unlink(missing_ok=True)

    def _length(self, begin: int) -> int:
        return min(RANGE_BYTES, self._size - begin)

    def _noted(self) -> set[int]:
        """Offsets of ranges that are complete; a line that a kill cut off counts for nothing."""
        if not (self._part.exists() and self._notes.exists()):
            self._notes.unlink(missing_ok=True)
            return set()
        lines = self._notes.read_text(encoding="ascii").split("\n")[:-1]
        return {int(line) for line in lines if line.isdigit()}

    def _fetch_all(self, descriptor: int, missing: list[int], read: ReadRange) -> None:
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            futures = [pool.submit(self._fetch_one, descriptor, begin, read) for begin in missing]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _fetch_one(self, descriptor: int, begin: int, read: ReadRange) -> None:
        offset, end = begin, begin + self._length(begin)
        while offset < end and not self._stop.is_set():
            before = offset
            try:
                for chunk in read(offset, end):
                    offset += self._write(descriptor, chunk[: end - offset], offset)
                    if offset == end or self._stop.is_set():
                        break
                if offset < end:
                    raise CutOffError(f"{offset - begin} bytes came of {end - begin}")  # noqa: TRY301
            except CutOffError as error:
                if not self._stop.is_set():
                    self._after(error, grown=offset > before)
        if offset == end:
            os.fdatasync(descriptor)
            self._note(begin)

    def _write(self, descriptor: int, chunk: bytes, offset: int) -> int:
        written = 0
        while written < len(chunk):
            written += os.pwrite(descriptor, memoryview(chunk)[written:], offset + written)
        self._meter.arrived(len(chunk))
        if chunk:
            self._failures = 0
        return len(chunk)

    def _after(self, error: CutOffError, *, grown: bool) -> None:
        """Wait before the next connection; failures of all connections count together, a byte ends them."""
        with self._lock:
            self._failures = 1 if grown else self._failures + 1
            failures = 1 + (self._failures - 1) // CONNECTIONS
        pause(self._uri, failures, error)

    def _note(self, begin: int) -> None:
        with self._lock, self._notes.open("a", encoding="ascii") as notes:
            notes.write(f"{begin}\n")


def fetch_large(
    uri: str,
    read: Callable[[int, int | None], Iterator[bytes]],
    size: int,
    identity: str,
    target: Path,
    *,
    meter: Meter,
) -> None:
    """Fetch a file in ranges, or over one connection from a server that does not know them.

    Parameters
    ----------
    uri, size, identity, target
        As of :func:`download`.
    read
        Reads from one offset up to before another; None: to the end.
    meter
        Told what arrives.
    """
    if size >= LARGE_BYTES and identity:
        with contextlib.suppress(RangesIgnoredError):
            Ranges(uri, size, identity, target, meter=meter).fetch(read)
            return
    download(uri, lambda offset: read(offset, None), size, identity, target, meter=meter)


def range_header(begin: int, end: int | None) -> dict[str, str]:
    """Headers that ask for a range; none for the whole content. ``end``: the first byte behind it."""
    if end is None:
        return {"Range": f"bytes={begin}-"} if begin else {}
    return {"Range": f"bytes={begin}-{end - 1}"}


def check_range(response: httpx.Response, begin: int, size: int) -> None:
    """Make sure that an answer is the range that was asked for.

    Raises
    ------
    RangesIgnoredError
        If it is the whole content, or says nothing about where it begins.
    InfrastructureError
        If the content has another size by now.
    """
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    is_range = response.status_code == httpx.codes.PARTIAL_CONTENT and unit == "bytes"
    if not is_range or span.partition("-")[0] != str(begin):
        raise RangesIgnoredError
    if total not in {"*", str(size)}:
        raise InfrastructureError("ChangedWhileRead", f"the content has {total} bytes now, {size} before")
