"""Which checkpoints count. A checkpoint is complete when its marker exists and every file it lists is there.

The trainer writes a checkpoint file by file; a kill in the middle leaves half of one. So the marker is
written last, by rename, and whatever has none is removed at the next start. It lists sizes and digests: a
file that a disk has spoilt is found before anything is loaded from it. Knows nothing of torch.
"""

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_worker.artifacts.digests import sha256_file
from safety_worker.artifacts.files import atomic_write_text, fsync_path

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints, in that of the working files."""

MARKER = "complete.json"
"""Lists the checkpoint's files: by name their ``bytes`` and ``sha256``; and what else is known of it."""

_NAME = re.compile(r"^checkpoint-(\d+)$")

Files = dict[str, dict[str, Any]]
"""By name, relative to the checkpoint's folder: ``bytes`` and ``sha256``."""


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A folder that the trainer wrote after a step."""

    step: int
    path: Path


def seal_files(folder: Path, names: Iterable[str]) -> Files:
    """Flush files to disk; gives their sizes and digests."""
    sealed = {}
    for name in names:
        fsync_path(folder / name)
        sealed[name] = {"bytes": (folder / name).stat().st_size, "sha256": sha256_file(folder / name)}
    return sealed


def file_names(folder: Path) -> list[str]:
    """All files of a checkpoint but its marker, sorted."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != MARKER)
    return sorted(path.relative_to(folder).as_posix() for path in found)


def mark_complete(folder: Path, files: Files | None = None, about: Mapping[str, Any] | None = None) -> None:
    """Write the marker of a checkpoint whose files are on disk.

    Parameters
    ----------
    folder
        The checkpoint.
    files
        Its files; None: all that are in the folder, flushed now.
    about
        What :func:`read_marker` gives besides ``files``.
    """
    files = seal_files(folder, file_names(folder)) if files is None else files
    content = {"files": dict(sorted(files.items())), **(about or {})}
    atomic_write_text(folder / MARKER, json.dumps(content, indent=1))


def read_marker(folder: Path) -> dict[str, Any] | None:
    """The marker's content; None if there is none, or it is damaged."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return content if all("bytes" in file for file in content["files"].values()) else None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None


def is_complete(folder: Path) -> bool:
    """Whether the marker is there and sound, and every file has the size that it lists."""
    content = read_marker(folder)
    if content is None:
        return False
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == file["bytes"]
        for name, file in content["files"].items()
    )


def find_damage(folder: Path, part: int = 0, parts: int = 1) -> list[str]:
    """Names of files whose content is not what was written; of ``parts`` readers each takes its share."""
    files = (read_marker(folder) or {"files": {}})["files"]
    mine = sorted(files)[part::parts]
    return [name for name in mine if not _is_sound(folder / name, files[name]["sha256"])]


def _is_sound(path: Path, digest: str) -> bool:
    try:
        return sha256_file(path) == digest
    except OSError:  # a sector that cannot be read is damage, too
        return False


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


def remove(checkpoint: Checkpoint) -> None:
    """Remove one, its marker first: a kill in the middle leaves an incomplete one, never a damaged one."""
    (checkpoint.path / MARKER).unlink(missing_ok=True)
    shutil.rmtree(checkpoint.path, ignore_errors=True)


def prune(folder: Path, keep: int, best: int | None = None) -> None:
    """Remove all but the ``keep`` newest complete checkpoints, and that of step ``best``."""
    for checkpoint in list_checkpoints(folder)[:-keep]:
        if checkpoint.step != best:
            remove(checkpoint)
