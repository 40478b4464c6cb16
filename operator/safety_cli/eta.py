"""How long a running stage will still take, from how it went while somebody watched."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from safety_cli.kubectl import Resource
from safety_cli.resources import label, namespace_of
from safety_operator.state.reading import integer, status_of, value_at

WINDOW_SECONDS = 300.0
"""What is longer ago says little: long answers come late, other runs end."""
LEAST_SECONDS = 10.0
"""Shorter than that gives no estimate: progress is written every few seconds."""

_Look = tuple[float, int]
"""When, and how many units were done."""


@dataclass(slots=True)
class _Run:
    """One stage of one resource."""

    stage: tuple[str, int]
    """Name and total: another of either is another run."""
    looks: deque[_Look] = field(default_factory=deque)


class Eta:
    """Remembers the looks of the last minutes."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], _Run] = {}

    def note(self, resources: Sequence[Resource], now: float) -> None:
        """Remember how far each is at ``now``, in seconds of a clock that never goes back."""
        for resource in resources:
            progress = value_at(status_of(resource), "progress", default={})
            stage = (str(progress.get("stage", "")), integer(progress.get("total")))
            key, done = (namespace_of(resource), label(resource)), integer(progress.get("done"))
            run = self._runs.get(key)
            if run is None or run.stage != stage or (run.looks and done < run.looks[-1][1]):
                run = self._runs[key] = _Run(stage)
            if not run.looks or done > run.looks[-1][1]:
                run.looks.append((now, done))
            while len(run.looks) > 1 and run.looks[0][0] < now - WINDOW_SECONDS:
                run.looks.popleft()

    def seconds_left(self, resource: Resource) -> float | None:
        """Seconds until the running stage is done; None while that is unknown."""
        run = self._runs.get((namespace_of(resource), label(resource)))
        if run is None or len(run.looks) < 2:  # noqa: PLR2004 - an estimate takes two
            return None
        (start, first), (end, last) = run.looks[0], run.looks[-1]
        total = run.stage[1]
        if end - start < LEAST_SECONDS or not last < total:
            return None
        return (total - last) * (end - start) / (last - first)

    def words(self, resource: Resource) -> str:
        """`` (about 40 s left of generate)``; empty where nothing is known."""
        seconds = self.seconds_left(resource)
        stage = value_at(status_of(resource), "progress", "stage", default="")
        return "" if seconds is None else f" (about {rough(seconds)} left of {stage})"


def rough(seconds: float) -> str:
    """Seconds in steps of 5, minutes or hours: no finer than an estimate is."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(5, round(seconds / 5) * 5)} s"
