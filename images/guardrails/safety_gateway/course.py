"""How a request goes: what is measured of it while it is worked on, in whichever task."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from safety_gateway.answers import Usage
from safety_gateway.callers import Caller
from safety_gateway.errors import GatewayError

NOBODY = "unknown"
"""Caller of a request without a key that is known here."""


@dataclass(slots=True)
class Course:
    """One request."""

    endpoint: str
    caller: str = NOBODY
    canary: bool = False
    """Whether the operator's proof asks, which no statistic counts."""
    status: int = 0
    """Of the response; 0 while there is none."""
    error: GatewayError | None = None
    """Why there is no answer, also where a stream had begun."""
    usage: Usage | None = None
    began: float = field(default_factory=time.perf_counter)
    first_part: float | None = None
    """When the first part of a streamed answer was shown."""
    span: Any = None
    """Of the trace, where there is one."""
    trace_parent: str = ""
    """The client's, in W3C's form; the model's server gets it."""
    _waiting: int = 0
    _since: float = 0.0
    _waited: float = 0.0

    def is_of(self, caller: Caller) -> None:
        """It is known who asks."""
        self.caller, self.canary = caller.name, caller.canary

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While a rail, the model or the client has to act; what waits at the same time counts once."""
        if not self._waiting:
            self._since = time.perf_counter()
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._waited += time.perf_counter() - self._since

    def own_seconds(self, now: float) -> float:
        """The gateway's own share until now."""
        return max(0.0, now - self.began - self._waited)


COURSE: ContextVar[Course | None] = ContextVar("course", default=None)
"""Of the request that a task works for."""


def current() -> Course:
    """The request that is worked for; one that nobody looks at outside of all."""
    return COURSE.get() or Course("")
