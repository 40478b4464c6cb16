"""What training keeps besides its checkpoints: how often it resumed or hung, and one line of metrics a step.

All survive a kill at any moment: counts are written by rename, and lines after the step at which training
resumes are dropped.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safety_worker.artifacts.files import atomic_write_text, write_lines

RESUMES_NAME = "resumes.json"
METRICS_NAME = "metrics.jsonl"
SETTINGS_NAME = "training.json"
"""What was asked for and what was planned, in the output folder."""
HANGS_NAME = "hangs.json"
MAX_HANGS = 3
"""Times that training may hang in the same step before a person has to look."""
TOKENS_NAME = "tokens.json"
"""What only a process knows that has prepared the rows: their tokens, and the plan."""
LOSSES_NAME = "losses.json"
"""How often others were lost since the same checkpoint."""


class Validated(NamedTuple):
    """What the measurements of the validation loss say so far."""

    best_step: int | None = None
    best_loss: float | None = None
    without_gain: int = 0
    """Measurements since the best one."""

    def with_loss(self, step: int, loss: float) -> "Validated":
        """With one more measurement; an equal loss is no gain."""
        if self.best_loss is None or loss < self.best_loss:
            return Validated(step, loss)
        return self._replace(without_gain=self.without_gain + 1)

    def stops_after(self, patience: int | None) -> bool:
        """Whether training has to end: no gain in so many measurements; None: never."""
        return patience is not None and self.without_gain >= patience


def read_validated(lines: Sequence[Mapping[str, Any]]) -> Validated:
    """What lines of metrics say of the validation loss."""
    found = Validated()
    for line in lines:
        if "validation_loss" in line:
            found = found.with_loss(line["step"], line["validation_loss"])
    return found


def read_resumes(folder: Path) -> int:
    """How often training continued from a checkpoint; 0 if never."""
    try:
        return int(json.loads((folder / RESUMES_NAME).read_text(encoding="utf-8"))["resumes"])
    except FileNotFoundError:
        return 0


def count_resume(folder: Path) -> int:
    """Count one more; gives the new count."""
    resumes = read_resumes(folder) + 1
    atomic_write_text(folder / RESUMES_NAME, json.dumps({"resumes": resumes}))
    return resumes


def read_steps(folder: Path) -> int:
    """Steps in all, as the process that prepared the rows wrote them."""
    return int(json.loads((folder / TOKENS_NAME).read_text(encoding="utf-8"))["plan"]["steps"])


def count_in_row(path: Path, step: int) -> int:
    """Count once more what happened in a step; gives how often it did there in a row."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    times = before.get("times", 0) + 1 if before.get("step") == step else 1
    atomic_write_text(path, json.dumps({"step": step, "times": times}))
    return times


class MetricsFile:
    """``metrics.jsonl``: objects with ``step`` and what was measured there.

    Parameters
    ----------
    path
        The file.
    after_step
        Step of the checkpoint from which training continues; later lines are dropped. 0: start anew.
    writable
        False for processes other than the first, which neither read nor write it.
    """

    def __init__(self, path: Path, after_step: int, *, writable: bool = True) -> None:
        self._path = path
        self._writable = writable
        found = read_metrics(path) if writable else []
        self.lines = [line for line in found if line["step"] <= after_step]
        self._latest = {key: value for line in self.lines for key, value in line.items()}
        if writable:
            write_lines(path, (json.dumps(line) for line in self.lines))

    def append(self, **values: float | None) -> None:
        """Add a line; values that are None are left out."""
        line = {key: value for key, value in values.items() if value is not None}
        self.lines.append(line)
        self._latest |= line
        if not self._writable:
            return
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def last(self, key: str) -> float | None:
        """The latest value of a key; None if no line has it."""
        return self._latest.get(key)


def last_value(lines: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """The latest value of a key; None if no line has it."""
    return next((line[key] for line in reversed(lines) if key in line), None)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a metrics file; a line that a kill has cut is left out. Empty if there is no file."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("step"), int):
            found.append(value)
    return found
