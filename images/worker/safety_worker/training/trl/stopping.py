"""SIGTERM: all processes agree on the step after which they stop, and on whether they save."""

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from types import FrameType
from typing import NoReturn

from safety_records.result import EXIT_INTERRUPTED

GRACE_SECONDS = 60
"""From SIGTERM to SIGKILL where the stage does not say it: the least that training pods have."""

MARGIN_SECONDS = 10.0
"""Left for the step in progress's end, and for processes to end."""

SAVE_FACTOR = 1.5
"""A checkpoint may take so many times as long as the last one."""


class Stop(IntEnum):
    """What a process wants after a step; of several wishes the largest holds."""

    GO_ON = 0
    SAVE = 1
    """Write a checkpoint and end."""
    LEAVE = 2
    """End: a checkpoint would not be finished in time."""


class Interruption:
    """Remembers SIGTERM until the step in progress is done.

    Outside of training (``in_training`` false) it ends the process at once with the shell's exit code 143.
    """

    def __init__(self, grace_seconds: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace_seconds = grace_seconds or GRACE_SECONDS
        self._clock = clock
        self.in_training = False
        self.requested_at: float | None = None
        self.save_seconds = 0.0
        """What the last checkpoint took."""

    def install(self) -> Callable[[], None]:
        """Take over SIGTERM; gives the function that hands it back."""
        previous = signal.signal(signal.SIGTERM, self._handle)

        def restore() -> None:
            signal.signal(signal.SIGTERM, previous)

        return restore

    @property
    def ended(self) -> bool:
        """Whether SIGTERM came outside of training."""
        return self.requested_at is not None and not self.in_training

    def wish(self) -> Stop:
        """What this process wants now."""
        if self.requested_at is None:
            return Stop.GO_ON
        left = self.seconds_left() or 0.0
        return Stop.SAVE if self.save_seconds * SAVE_FACTOR <= left else Stop.LEAVE

    def seconds_left(self) -> float | None:
        """Time for writing, at least 0; None: SIGTERM has not come."""
        if self.requested_at is None:
            return None
        return max(0.0, self.requested_at + self._grace_seconds - MARGIN_SECONDS - self._clock())

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested_at is None:
            self.requested_at = self._clock()
        if not self.in_training:
            raise SystemExit(EXIT_INTERRUPTED)


def least_left(seconds: float | None, largest: Callable[[Sequence[float]], list[float]]) -> float | None:
    """Time for writing of the process that has least; None: SIGTERM has come to none.

    Parameters
    ----------
    seconds
        That of this process; None: SIGTERM has not come to it.
    largest
        Gives the largest values over all processes.
    """
    (found,) = largest((-math.inf if seconds is None else -seconds,))
    return None if found == -math.inf else -found


def end_now() -> NoReturn:
    """End without waiting for a checkpoint that another thread writes: it would not be finished in time."""
    sys.stdout.flush()
    os._exit(EXIT_INTERRUPTED)
