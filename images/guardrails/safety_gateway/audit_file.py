"""The audit trail in files of its own, on a volume that may be slow, full or gone.

A chain goes on from file to file, each of which is closed when it is large or a day old: an open one is
younger than any that retention deletes.

One thread writes, so that no request ever waits for the volume. What it could not write is taken back and
tried again. Where it cannot be taken back either, a line that was cut off stays as a line of its own, which
readers pass over, and one that is there twice counts once.
"""

import errno
import logging
import os
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from safety_gateway.audit_retention import DAY_SECONDS, remove_old
from safety_gateway.metrics import Metrics

log = logging.getLogger(__name__)

MAX_BYTES = 32 * 1024**2
"""Lines that wait for the volume; a text of the longest request fits in several times."""
FILE_BYTES = 64 * 1024**2
"""A file that would be larger is closed, and another one made."""
FILE_SECONDS = DAY_SECONDS
"""Longest time that a file is open."""
RETRY_SECONDS = 1.0
END_SECONDS = 5.0
"""Longest time for what waits when the process ends."""
MODE = 0o640


class AuditFile:
    """Writes lines to files that it makes; other processes have others.

    Parameters
    ----------
    folder
        Where files are made.
    chain
        Name of the chain of the lines, for the files' names.
    metrics
        Counts lines that are in no file, and tries that failed.
    days
        Age of the last line of files of any process that are deleted; None: they stay.

    Raises
    ------
    OSError
        If no file can be made.
    """

    def __init__(self, folder: Path, chain: str, metrics: Metrics, days: int | None = None) -> None:
        self._folder = folder
        self._name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{chain}"
        self._metrics = metrics
        self._days = days
        self._number = 0
        self._file: int | None = None
        self._size = 0
        self._due = time.monotonic() + FILE_SECONDS
        self._open()
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._bytes = 0
        self._missing = 0
        self._trouble = ""
        self._full = False
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-file", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The file that is written, or will be."""
        return self._folder / f"{self._name}-{self._number:06}.jsonl"

    def write(self, line: str) -> None:
        """Take a line; one for which there is no room is counted and told, and never waited for."""
        data = f"{line}\n".encode()
        with self._changed:
            if self._bytes + len(data) > MAX_BYTES or self._ends.is_set():
                self._lose(1)
                return
            self._lines.append(data)
            self._bytes += len(data)
            self._changed.notify()

    def close(self, seconds: float = END_SECONDS) -> None:
        """Write what waits, and end; what is left after that time is counted and told."""
        with self._changed:
            self._ends.set()
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            left, self._lines = len(self._lines), []
            if left:
                self._metrics.audit_lost.inc(left)
                log.error("the process ends, and %d lines of the audit trail are not in %s", left, self.path)

    def _lose(self, count: int) -> None:
        self._metrics.audit_lost.inc(count)
        self._missing += count
        if not self._full:
            self._full = True
            log.error("the volume takes no lines of the audit trail, and no more can wait: some will be lost")

    def _run(self) -> None:
        self._remove_old()
        while True:
            batch = self._next()
            last = self._ends.is_set()
            if time.monotonic() >= self._due:
                self._end_file()
                self._remove_old()
                self._due = time.monotonic() + FILE_SECONDS
            try:
                self._append(b"".join(batch))
            except OSError as error:
                self._failed(error)
                if last:
                    return
                self._ends.wait(RETRY_SECONDS)
            else:
                self._written(batch)
                if last and not batch:
                    break
        self._end_file()

    def _next(self) -> list[bytes]:
        """The lines that wait, once there are any; none at the end, and where a file's time is over."""
        with self._changed:
            left = max(0, self._due - time.monotonic())
            self._changed.wait_for(lambda: self._lines or self._ends.is_set(), left)
            return list(self._lines)

    def _append(self, data: bytes) -> None:
        if not data:
            return
        if (self._size and self._size + len(data) > FILE_BYTES) or self._is_gone():
            self._end_file()
        file = self._open() if self._file is None else self._file
        data = b"\n" + data if self._trouble else data
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fdatasync(file)
        self._size += len(data)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._file = os.open(self.path, flags, MODE)
        except FileExistsError:  # of a try whose answer got lost, or an empty one that could not be deleted
            self._number += 1
            raise
        return self._file

    def _is_gone(self) -> bool:
        """Whether somebody deleted the open file, where lines would go with it."""
        if self._file is None:
            return False
        try:
            return os.fstat(self._file).st_nlink == 0
        except OSError as error:
            return error.errno == errno.ESTALE

    def _end_file(self) -> None:
        """Close the file, and delete it if it has no line; the next line makes another one."""
        file, self._file = self._file, None
        if file is None:
            return
        with suppress(OSError):
            os.close(file)
        if self._size:
            self._number += 1
            self._size = 0
            return
        with suppress(OSError):
            self.path.unlink()

    def _remove_old(self) -> None:
        if self._days is None:
            return
        try:
            remove_old(self._folder, time.time(), self._days)
        except OSError as error:
            log.warning("old files of the audit trail cannot be looked for: %s", error.strerror)

    def _take_back(self) -> None:
        """Cut off what a failed try left, so that tries at a full volume do not fill it."""
        if self._file is None:
            return
        with suppress(OSError):
            if os.fstat(self._file).st_size > self._size:
                os.ftruncate(self._file, self._size)

    def _failed(self, error: OSError) -> None:
        """Tell of an error that is new."""
        self._take_back()
        self._metrics.audit_failures.inc()
        words = os.strerror(error.errno) if error.errno else type(error).__name__
        if words != self._trouble:
            log.error("the audit trail cannot be written to %s: %s; it is tried again", self.path, words)
        self._trouble = words

    def _written(self, batch: list[bytes]) -> None:
        with self._changed:
            del self._lines[: len(batch)]
            self._bytes -= sum(map(len, batch))
            missing, self._missing = self._missing, 0
            full, self._full = self._full, False
        if self._trouble or full:
            log.warning("the audit trail is written to %s again; %d lines are lost", self.path, missing)
        self._trouble = ""
