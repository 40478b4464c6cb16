"""What a stage gets besides its specification: the store, the inputs folder, a way to report progress."""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from safety_records.progress import Progress
from safety_worker.artifacts.store import ArtifactStore
from safety_worker.errors import InputError

PROGRESS_SECONDS = 2.0
"""Shortest time between two progress lines: the operator reads them every few seconds."""


class ProgressReporter:
    """Writes progress as JSON lines, at most one every ``interval`` seconds.

    The latest line that was held back is written by :meth:`flush`, so the last word is never lost.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        interval: float = PROGRESS_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._interval = interval
        self._clock = clock
        self._last = float("-inf")
        self._held: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """Write the line now, or hold it back if the last one is too recent."""
        self._held = progress
        if self._clock() - self._last >= self._interval:
            self.flush()

    def flush(self) -> None:
        """Write the line that was held back, if any."""
        if self._held is None:
            return
        print(self._held.to_json(), file=self._stream or sys.stdout, flush=True)
        self._held = None
        self._last = self._clock()


@dataclass(frozen=True)
class StageContext:
    """Everything around one stage."""

    store: ArtifactStore
    inputs: Path
    """Folder with the mounted data: ``configmap/<name>/<key>`` and ``pvc/<claim>/<path>``."""
    report_progress: Callable[[Progress], None]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that specifications name, such as those that hold keys."""
    scratch: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    """Folder for files that may be lost."""

    def secret(self, variable: str) -> str:
        """Value of the variable that a specification names, without white space around it; empty for no name.

        Secrets made of files end with a line break, which is part of no key.

        Raises
        ------
        InputError
            If the variable is named but not set.
        """
        if not variable:
            return ""
        value = self.environment.get(variable, "").strip()
        if not value:
            raise InputError(
                "MissingSecret",
                f"the variable {variable} is empty: check that the Secret exists and has the key",
            )
        return value
