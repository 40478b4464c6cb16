"""Old files of audit trails in a folder that several processes write to.

A chain loses files from its beginning only, so that a hole in its middle is never retention's work.
"""

import logging
import os
import re
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

DAY_SECONDS = 24 * 3600
_NAME = re.compile(r"(?P<chain>\d{8}T\d{6}Z-[0-9a-f]{32})-(?P<number>\d{6,})\.jsonl", re.ASCII)


class _File(NamedTuple):
    chain: str
    number: int
    name: str
    modified: float


def remove_old(folder: Path, now: float, days: int) -> None:
    """Delete files whose last line is older than ``days``; what cannot be deleted is told and left.

    Raises
    ------
    OSError
        If the folder cannot be listed.
    """
    oldest = now - days * DAY_SECONDS
    removed = 0
    for _, chain in groupby(sorted(_files(folder)), key=lambda file: file.chain):
        for file in chain:
            if file.modified > oldest or not _remove(folder / file.name):
                break
            removed += 1
    if removed:
        log.info("%d files of the audit trail were older than %d days and are deleted", removed, days)


def _files(folder: Path) -> list[_File]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match and entry.is_file(follow_symlinks=False):
                modified = _modified(entry)
                found.append(_File(match["chain"], int(match["number"]), entry.name, modified))
    return found


def _modified(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:  # another pod deleted it
        return 0


def _remove(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s is old and cannot be deleted: %s", path, error.strerror)
        return False
    return True
