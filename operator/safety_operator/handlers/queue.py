"""The keyed queue: a key waits once, is worked on by one worker at a time, and comes back when it must.

Two lanes: what was never looked at goes first, so that a thousand new resources all get their first child
before anybody's status is polished.
"""

import asyncio
import random
from collections import deque

from safety_operator import metrics
from safety_operator.state.keys import Key

FIRST_BACKOFF_SECONDS = 0.25
"""Pause after the first failure; doubled with each further one."""
BURST_KEYS = 24
BURST_SECONDS = 1.0
"""So many new keys within so many seconds are a burst: first children come before everything else."""
LONGEST_BACKOFF_SECONDS = 120.0
"""Longest pause: an outage's end is noticed within two minutes even without an event."""


class KeyedQueue:
    """Keys that wait for a worker, now or later."""

    def __init__(self) -> None:
        self._urgent: deque[Key] = deque()
        self._normal: deque[Key] = deque()
        self._waiting: set[Key] = set()
        self._active: set[Key] = set()
        self._again: dict[Key, bool] = {}
        self._later: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._arrivals: deque[float] = deque(maxlen=BURST_KEYS)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def has_urgent(self) -> bool:
        """Whether keys wait that were never looked at, or keep coming in a burst."""
        if self._urgent:
            return True
        now = asyncio.get_running_loop().time()
        return len(self._arrivals) == BURST_KEYS and now - self._arrivals[0] < BURST_SECONDS

    def add(self, key: Key, *, urgent: bool = False) -> None:
        """Put a key in line. One that waits already keeps its place; one being worked on comes after."""
        if key in self._active:
            self._again[key] = self._again.get(key, False) or urgent
            return
        if key in self._waiting:
            return
        self._waiting.add(key)
        if urgent:
            self._arrivals.append(asyncio.get_running_loop().time())
        (self._urgent if urgent else self._normal).append(key)
        metrics.QUEUE_DEPTH.set(len(self._waiting))
        self._wake_one()

    def add_after(self, key: Key, seconds: float) -> None:
        """Put a key in line after a while; the earliest of several times counts."""
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        timer = self._later.get(key)
        if timer is not None:
            if timer.when() <= when:
                return
            timer.cancel()
        self._later[key] = loop.call_at(when, self._due, key)
        metrics.QUEUE_DELAYED.set(len(self._later))

    def add_failed(self, key: Key) -> float:
        """Put a key in line after its back-off, with jitter; returns the pause in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        pause = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 20), LONGEST_BACKOFF_SECONDS)
        pause *= random.uniform(0.75, 1.25)  # noqa: S311 - jitter
        self.add_after(key, pause)
        return pause

    def succeeded(self, key: Key) -> None:
        """End a key's back-off."""
        self._failures.pop(key, None)

    def forget(self, key: Key) -> None:
        """Drop all memory of a key that is gone, its timer included."""
        self.succeeded(key)
        if timer := self._later.pop(key, None):
            timer.cancel()
        metrics.QUEUE_DELAYED.set(len(self._later))

    async def get(self) -> Key:
        """Wait for a key and take it. The worker must say ``done``."""
        while not self._waiting:
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                # A wake-up that this worker cannot use any more belongs to another.
                if getter.done() and not getter.cancelled() and self._waiting:
                    self._wake_one()
                raise
        key = (self._urgent or self._normal).popleft()
        self._waiting.discard(key)
        self._active.add(key)
        metrics.QUEUE_DEPTH.set(len(self._waiting))
        return key

    def done(self, key: Key) -> None:
        """Give a key back; what came for it meanwhile puts it in line again."""
        self._active.discard(key)
        if key in self._again:
            self.add(key, urgent=self._again.pop(key))

    def _due(self, key: Key) -> None:
        self._later.pop(key, None)
        metrics.QUEUE_DELAYED.set(len(self._later))
        self.add(key)

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return
