"""Opens one file of one report, whatever stands in the artifact store.

Every folder is opened below the one before and never through a link, so that neither a request nor a folder
that a worker left can lead anywhere else.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from safety_records.manifest import MANIFEST_NAME, Manifest
from safety_records.report_files import SERVED_NAMES, ReportFolder

MAX_MANIFEST_BYTES = 1_000_000
"""A report's manifest has six entries."""
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotThereError(Exception):
    """There is no such report, or it is not complete."""


class OpenFile(NamedTuple):
    """An open file; whoever asked closes the descriptor."""

    descriptor: int
    size: int
    """Bytes."""


def open_report_file(root: Path, folder: ReportFolder, name: str) -> OpenFile:
    """Open a file of a complete report for reading.

    Parameters
    ----------
    root
        Where the claim is mounted.
    folder
        The report.
    name
        One of :data:`safety_records.report_files.SERVED_NAMES`, or the manifest.

    Raises
    ------
    NotThereError
        If there is none, its report has no manifest yet, or the manifest does not have it at this size.
    """
    try:
        with _opened_folder(root, folder) as inside:
            manifest = _read_manifest(inside)
            found = _open(inside, name)
    except OSError as error:
        raise NotThereError from error
    sizes = {file.path: file.size for file in manifest.files if file.path in SERVED_NAMES}
    if name != MANIFEST_NAME and sizes.get(name) != found.size:
        os.close(found.descriptor)
        raise NotThereError
    return found


@contextmanager
def _opened_folder(root: Path, folder: ReportFolder) -> Iterator[int]:
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folder.parts:
            inner = os.open(part, _FOLDER_FLAGS, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _open(folder: int, name: str) -> OpenFile:
    """Open a plain file. Raises OSError for anything else."""
    descriptor = os.open(name, _FILE_FLAGS, dir_fd=folder)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(f"{name} is no file")
    return OpenFile(descriptor, status.st_size)


def _read_manifest(folder: int) -> Manifest:
    found = _open(folder, MANIFEST_NAME)
    with os.fdopen(found.descriptor, "rb") as stream:
        if found.size > MAX_MANIFEST_BYTES:
            raise NotThereError
        try:
            return Manifest.model_validate_json(stream.read(MAX_MANIFEST_BYTES + 1))
        except ValidationError as error:
            raise NotThereError from error
