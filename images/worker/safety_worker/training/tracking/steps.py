"""Reads the steps of ``metrics.jsonl`` while a training writes it, and starts it anew when it resumes."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

NAMES: Mapping[str, str] = {
    "epoch": "train/epoch",
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/grad_norm",
    "tokens_per_second": "train/tokens_per_second",
    "memory_bytes": "train/memory_bytes",
    "mfu": "train/mfu",
    "validation_loss": "eval/loss",
}
"""What is sent, by its name in ``metrics.jsonl``: trackers get the names of Hugging Face's trainer, so that
runs of both can be compared."""


class Step(NamedTuple):
    """All numbers of an optimizer step."""

    number: int
    values: dict[str, float]
    """By the names that trackers have."""


class StepReader:
    """Gives each step of a growing file once.

    A step is whole when a later one has begun: training and validation write a line each. A training that
    resumes puts another file in its place, which is read from its beginning; steps that were given are not
    given again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._read = 0
        self._open: dict[int, dict[str, float]] = {}
        self._given = -1

    def take(self, limit: int, *, ended: bool = False) -> list[Step]:
        """At most ``limit`` further steps; ``ended``: nothing more is written, so the last one is whole."""
        if len(self._open) <= limit:
            self._look(limit)
        last = max(self._open, default=0)
        found = []
        for number in sorted(self._open)[:limit]:
            if number == last and not ended:
                break
            found.append(Step(number, self._open.pop(number)))
            self._given = number
        return found

    def _look(self, limit: int) -> None:
        try:
            stream = self._path.open("rb")
        except FileNotFoundError:
            return
        with stream:
            inode = self._path.stat().st_ino
            if inode != self._inode:
                self._inode, self._read, self._open = inode, 0, {}
            stream.seek(self._read)
            for line in stream:
                if not line.endswith(b"\n") or len(self._open) > limit:
                    break
                self._read += len(line)
                self._keep(line)

    def _keep(self, line: bytes) -> None:
        for number, name, value in _numbers(line):
            if number > self._given:
                self._open.setdefault(number, {})[name] = value


def _numbers(line: bytes) -> Iterator[tuple[int, str, float]]:
    """Step, name and value of what is sent of a line; a line that is none gives nothing."""
    try:
        found: Any = json.loads(line)
    except ValueError:
        return
    number = found.get("step") if isinstance(found, dict) else None
    if not isinstance(number, int):
        return
    for key, name in NAMES.items():
        value = found.get(key)
        if isinstance(value, int | float) and math.isfinite(value):
            yield number, name, float(value)
