"""Which checkpoints count. A checkpoint is complete when its marker exists and every file it lists is there.

The trainer writes a checkpoint file by file; a kill in the middle leaves half of one. So the marker is
written last, by rename, and whatever has none is removed at the next start. Knows nothing of torch.
"""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from safety_worker.artifacts.files import atomic_write_text, fsync_path

MARKER = "complete.json"
"""Lists the checkpoint's files with their sizes in bytes."""

_NAME = re.compile(r"^checkpoint-(\d+)$")


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A folder that the trainer wrote after a step."""

    step: int
    path: Path


def mark_complete(folder: Path) -> None:
    """Flush the checkpoint's files to disk, then write its marker."""
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MARKER
    }
    for name in files:
        fsync_path(folder / name)
    atomic_write_text(folder / MARKER, json.dumps({"files": files}, indent=1))


def is_complete(folder: Path) -> bool:
    """Whether the marker is there and sound, and every file has the size that it lists."""
    try:
        files = json.loads((folder / MARKER).read_text(encoding="utf-8"))["files"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return False
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == size for name, size in files.items()
    )


def list_checkpoints(folder: Path, *, complete: bool = True) -> list[Checkpoint]:
    """Checkpoints by step, those that are (not) complete; empty if the folder does not exist."""
    if not folder.is_dir():
        return []
    found = ((path, _NAME.match(path.name)) for path in folder.iterdir() if path.is_dir())
    return sorted(
        Checkpoint(int(match[1]), path) for path, match in found if match and is_complete(path) is complete
    )


def latest_complete(folder: Path) -> Checkpoint | None:
    """The complete checkpoint of the highest step; None if there is none."""
    return max(list_checkpoints(folder), default=None)


def remove_incomplete(folder: Path) -> None:
    """Remove checkpoints that a kill has left half-written."""
    for checkpoint in list_checkpoints(folder, complete=False):
        shutil.rmtree(checkpoint.path)


def prune(folder: Path, keep: int) -> None:
    """Remove all but the ``keep`` newest complete checkpoints.

    The marker goes first, so that a kill in the middle leaves an incomplete checkpoint, never a damaged one.
    """
    for checkpoint in list_checkpoints(folder)[:-keep]:
        (checkpoint.path / MARKER).unlink()
        shutil.rmtree(checkpoint.path)
