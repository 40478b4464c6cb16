"""What training keeps beside its checkpoints: how often it resumed, and one line of metrics a step.

Both survive a kill at any moment: the count is written by rename, and lines after the step at which
training resumes are dropped.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safety_worker.artifacts.files import atomic_write_text, write_lines

RESUMES_NAME = "resumes.json"
METRICS_NAME = "metrics.jsonl"


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


class MetricsFile:
    """``metrics.jsonl``: objects with ``step`` and what was measured there.

    Parameters
    ----------
    path
        The file.
    after_step
        Step of the checkpoint from which training continues; later lines are dropped. 0: start anew.
    writable
        False for processes other than the first, which leave the file alone.
    """

    def __init__(self, path: Path, after_step: int, *, writable: bool = True) -> None:
        self._path = path
        self._writable = writable
        self.lines = [line for line in read_metrics(path) if line["step"] <= after_step]
        if writable:
            write_lines(path, (json.dumps(line) for line in self.lines))

    def append(self, **values: float | None) -> None:
        """Add a line; values that are None are left out."""
        line = {key: value for key, value in values.items() if value is not None}
        self.lines.append(line)
        if not self._writable:
            return
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def last(self, key: str) -> float | None:
        """The latest value of a key; None if no line has it."""
        return last_value(self.lines, key)


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
