"""Counts what arrives: bytes of how many, and how fast."""

import threading
import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 10.0
"""Speed is that of the last so many seconds."""

SAMPLE_SECONDS = 0.5
"""Time between two reports."""


class Meter:
    """Told by any thread what arrives.

    Parameters
    ----------
    report
        Gets bytes that are there, bytes in all, and bytes per second.
    total
        Bytes in all; 0 where nobody knows.
    clock
        Seconds.
    """

    def __init__(
        self,
        report: Callable[[int, int, float], None] = lambda _done, _total, _speed: None,
        total: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report, self._total, self._clock = report, total, clock
        self._lock = threading.Lock()
        self._done = 0
        self._samples = deque([(clock(), 0)])
        self._arrived = 0

    def arrived(self, num_bytes: int) -> None:
        """Count bytes that came; negative: they have to come again."""
        with self._lock:
            self._done += num_bytes
            self._arrived += num_bytes
            now = self._clock()
            if now - self._samples[-1][0] >= SAMPLE_SECONDS:
                self._samples.append((now, self._arrived))
                while len(self._samples) > 2 and now - self._samples[0][0] > WINDOW_SECONDS:  # noqa: PLR2004
                    self._samples.popleft()
                self._tell()

    def found(self, num_bytes: int) -> None:
        """Count bytes that were there already; they say nothing about the speed."""
        with self._lock:
            self._done += num_bytes
            self._tell()

    def _tell(self) -> None:
        (first, before), (last, now) = self._samples[0], self._samples[-1]
        speed = (now - before) / (last - first) if last > first else 0.0
        self._report(max(0, min(self._done, self._total or self._done)), self._total, max(0.0, speed))
