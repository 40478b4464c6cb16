"""Exact writing on a local file system: a reader sees the old file or the new one, never half of one."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from safety_worker.artifacts.digests import TEMPORARY_PREFIX

MAX_NAME_BYTES = 255
"""Longest name of a file or folder on Linux."""


def fsync_path(path: Path) -> None:
    """Make a file's or folder's present state survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes ``path`` by fsync and rename when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        fsync_path(temporary)
        temporary.chmod(0o644)  # mkstemp's 0600 would lock out servers that run as another user
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    fsync_path(path.parent)


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file by temporary file, fsync and rename. Creates the folder."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: Path, text: str) -> None:
    """As :func:`atomic_write`, in UTF-8."""
    atomic_write(path, text.encode("utf-8"))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines (without their ends) as one file, atomically."""
    atomic_write(path, "".join(f"{line}\n" for line in lines).encode("utf-8"))


def inside(root: Path, relative: str) -> Path:
    """The path below a root.

    Raises
    ------
    ValueError
        If the relative path is absolute, climbs out of the root, or has a part that no folder can hold.
    """
    parts = Path(relative).parts
    if relative.startswith("/") or ".." in parts:
        raise ValueError(f"{relative!r} is not inside its root")
    if any(len(part.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES for part in parts):
        raise ValueError(f"a name in it has more than {MAX_NAME_BYTES} bytes")
    return root.joinpath(*parts)
