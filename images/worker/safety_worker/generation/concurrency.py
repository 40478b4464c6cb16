"""How many requests a server gets at a time: as many as make it faster, and fewer when it says so.

Additive increase, multiplicative decrease, as TCP does it (Chiu and Jain 1989; slow start of RFC 5681), with
a gradient check in the manner of Netflix's concurrency-limits: requests that only wait are taken back.
Speed is counted in tokens, because answers differ in length by a factor of a hundred.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

FIRST_LIMIT = 32
"""Requests at the start; doubled with each round of answers as long as that makes the server faster."""
CUT = 0.5
"""What is left of the limit after an overload."""
GROWTH_TO_COMPARE = 1.5
"""How much larger a limit has to be before its speed is compared: less drowns in the noise of lengths."""
FASTER = 1.05
"""Gain in tokens a second for which a growth by half or more is kept, whatever it costs in latency."""
SLOWER = 1.3
"""Growth of the time per token from which requests count as waiting in the server's queue."""
HOLD_ROUNDS = 4
"""Rounds of answers before more is tried again."""


class _Round(NamedTuple):
    """What a round of answers has shown."""

    limit: float
    """Mean of the limits at its beginning and end."""
    tokens_per_second: float
    seconds_per_token: float


class AdaptiveLimit:
    """The limit of one server.

    Parameters
    ----------
    maximum
        Largest limit, from the specification, 1 or more; the smallest is 1.
    clock
        Seconds that never run backwards.
    steady
        Where times are compared: the maximum from the start, and less only after an overload.
    """

    def __init__(
        self, maximum: int, clock: Callable[[], float] = time.monotonic, *, steady: bool = False
    ) -> None:
        self._maximum = maximum
        self._clock = clock
        self._steady = steady
        self._limit = maximum if steady else min(maximum, FIRST_LIMIT)
        self._starting = not steady
        self._base: _Round | None = None
        """The round that a larger limit has to beat."""
        self._hold = 0
        self._last_cut = float("-inf")
        self._reached = False
        self._begin()

    @property
    def value(self) -> int:
        """Requests at a time, from 1 to the maximum."""
        return self._limit

    def used(self, in_flight: int) -> None:
        """Tell how many requests are in flight: a limit that is not reached is not raised."""
        self._reached = self._reached or in_flight >= self._limit

    def succeeded(self, seconds: float, tokens: int) -> None:
        """An answer of so many tokens came after so many seconds."""
        self._answers += 1
        self._tokens += max(tokens, 1)
        self._waited += seconds
        if self._starting and self._reached:
            self._limit = min(self._maximum, self._limit + 1)
        if self._answers >= self._size:
            self._end_round()

    def overloaded(self, started: float) -> None:
        """A request that began at ``started`` was refused for load, or got no answer in time.

        Of the requests that were in flight together only the first counts.
        """
        if started < self._last_cut:
            return
        self._limit = max(1, int(self._limit * CUT))
        self._last_cut = self._clock()
        self._starting = False
        self._base = None
        self._hold = 1
        self._begin()

    def _begin(self) -> None:
        self._from = self._limit
        self._size = self._limit if self._starting else 2 * self._limit
        self._answers = 0
        self._tokens = 0
        self._waited = 0.0
        self._reached = False
        self._since = self._clock()

    def _end_round(self) -> None:
        elapsed = self._clock() - self._since
        if self._reached and elapsed > 0:
            limit = (self._from + self._limit) / 2
            speed = _Round(limit, self._tokens / elapsed, self._waited / self._tokens)
            self._decide(speed)
        self._begin()

    def _decide(self, now: _Round) -> None:
        base = self._base
        if base is not None and now.limit >= base.limit * GROWTH_TO_COMPARE and not self._steady:
            gained = now.tokens_per_second / base.tokens_per_second
            slower = now.seconds_per_token / base.seconds_per_token
            if gained < FASTER and slower > SLOWER:
                self._limit = int(base.limit)
                self._starting = False
                self._hold = HOLD_ROUNDS
                return
            self._base = now
        elif base is None or now.limit <= base.limit:
            self._base = now
        if self._hold:
            self._hold -= 1
        elif not self._starting:
            self._limit = min(self._maximum, self._limit + max(1, self._maximum // 16))
