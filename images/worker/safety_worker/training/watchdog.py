"""A step that hangs is ended from outside: nothing inside of it can.

Knows nothing of torch; a process that waits for its GPU or for others lets threads run.
"""

import threading
import time
from collections.abc import Callable

POLLS = 4
"""Looks within one limit."""

SAVING_SECONDS = 1800.0
"""How long writing a checkpoint may take at least."""


class Watchdog:
    """Calls a function when nothing has been done for too long.

    Parameters
    ----------
    seconds
        How long a step may take; None: for ever.
    on_hang
        Gets the seconds that have passed; called once, in a thread. It should end the process.
    clock
        Seconds that only grow.
    """

    def __init__(
        self,
        seconds: float | None,
        on_hang: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = seconds
        self._on_hang = on_hang
        self._clock = clock
        self._since = clock()
        self._limit = seconds or 0.0
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        if self.seconds is not None:
            self.renew()
            threading.Thread(target=self._look, daemon=True, name="watchdog").start()

    def renew(self) -> None:
        """Something was done: the limit counts from now."""
        self._since, self._limit = self._clock(), self.seconds or 0.0

    def allow_saving(self) -> None:
        """A checkpoint is being written: slow storage is no hung step."""
        self._since, self._limit = self._clock(), max(self._limit, SAVING_SECONDS)

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def check(self) -> bool:
        """Whether it hangs; calls the function if so."""
        passed = self._clock() - self._since
        if passed <= self._limit:
            return False
        self._on_hang(passed)
        return True

    def _look(self) -> None:
        assert self.seconds is not None
        while not self._stopped.wait(self.seconds / POLLS):
            if self.check():
                return
