"""The head's marker on the shared volume: which head there is, where, and what it is at.

Node 0 alone writes it. The others join a head only while it says ``open`` and is of their own run; a head
that was killed leaves a marker behind whose address does not answer, and its successor replaces it.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

State = Literal["open", "full", "done", "failed", "interrupted"]
NAME = "ray-head.json"


@dataclass(frozen=True, slots=True)
class Marker:
    """What node 0 says of itself."""

    run: str
    """The run of the pods that it belongs to."""
    head: str
    """Drawn anew by each head."""
    address: str
    """host:port of its GCS."""
    state: State = "open"
    """open: waits for nodes; full: all have joined, and none may come later; then how it ended."""


def write_marker(folder: Path, marker: Marker) -> None:
    """Replace the marker; readers see the one before or this one."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{NAME}.{marker.head}"
    partial.write_text(json.dumps(asdict(marker)), encoding="utf-8")
    os.replace(partial, folder / NAME)  # noqa: PTH105 - one call, atomic


def read_marker(folder: Path) -> Marker | None:
    """The marker; None where there is none, or none that can be read."""
    try:
        found = Marker(**json.loads((folder / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found
