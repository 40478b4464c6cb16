"""The audit trail in a file of its own, on a volume that may be slow, full or gone.

One thread writes, so that no request ever waits for the volume. What it could not write is taken back and
tried again. Where it cannot be taken back either, a line that was cut off stays as a line of its own, which
readers pass over, and one that is there twice counts once.
"""

import logging
import os
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import Counter

log = logging.getLogger(__name__)

MAX_BYTES = 32 * 1024**2
"""Lines that wait for the volume; a text of the longest request fits in several times."""
RETRY_SECONDS = 1.0
END_SECONDS = 5.0
"""Longest time for what waits when the process ends."""
MODE = 0o640


class AuditFile:
    """Writes lines to a file that it makes; other processes have others.

    Parameters
    ----------
    folder
        Where the file is made.
    chain
        Name of the chain of the lines, for the file's name.
    lost
        Counts lines that are not in the file.

    Raises
    ------
    OSError
        If the file cannot be made.
    """

    def __init__(self, folder: Path, chain: str, lost: Counter) -> None:
        self.path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{chain}.jsonl"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(self.path, flags, MODE)
        self._lost = lost
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._bytes = 0
        self._size = 0
        self._missing = 0
        self._trouble = ""
        self._full = False
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-file", daemon=True)
        self._thread.start()

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
                self._lost.inc(left)
                log.error("the process ends, and %d lines of the audit trail are not in %s", left, self.path)

    def _lose(self, count: int) -> None:
        self._lost.inc(count)
        self._missing += count
        if not self._full:
            self._full = True
            log.error("the volume takes no lines of the audit trail, and no more can wait: some will be lost")

    def _run(self) -> None:
        while batch := self._next():
            last = self._ends.is_set()
            try:
                self._append(b"".join(batch))
            except OSError as error:
                self._failed(error)
                if last:
                    return
                self._ends.wait(RETRY_SECONDS)
            else:
                self._written(batch)
        with suppress(OSError):
            os.close(self._file)
            if not self._size:
                self.path.unlink()

    def _next(self) -> list[bytes]:
        """The lines that wait, once there are any; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._ends.is_set())
            return list(self._lines)

    def _append(self, data: bytes) -> None:
        data = b"\n" + data if self._trouble else data
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        os.fdatasync(self._file)
        self._size += len(data)

    def _take_back(self) -> None:
        """Cut off what a failed try left, so that tries at a full volume do not fill it."""
        with suppress(OSError):
            if os.fstat(self._file).st_size > self._size:
                os.ftruncate(self._file, self._size)

    def _failed(self, error: OSError) -> None:
        """Tell of an error that is new."""
        self._take_back()
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
