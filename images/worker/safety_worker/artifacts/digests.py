"""Digests of files and folders: sha256 over the sorted ``path NUL sha256 LF`` lines."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from safety_records.manifest import MANIFEST_NAME, RESULT_NAME, Manifest, ManifestFile, digest_of

TEMPORARY_PREFIX = ".tmp-"
"""Names of files that are not finished; never part of a folder's content."""


HASHED_AT_A_TIME = 4
"""Files at a time: a core hashes less than a disk reads."""


def sha256_file(path: Path) -> str:
    """sha256 of a file as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_files(folder: Path) -> list[str]:
    """Relative paths of a folder's content, sorted: no manifest, no result, no unfinished files."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(TEMPORARY_PREFIX) for part in path.relative_to(folder).parts)
        and path.relative_to(folder).as_posix() not in {MANIFEST_NAME, RESULT_NAME}
    )


def build_manifest(folder: Path, inputs_hash: str = "", paths: Iterable[str] | None = None) -> Manifest:
    """Manifest of the named files, or of all content, of a folder. Reads every byte.

    Parameters
    ----------
    folder
        Where the files are.
    inputs_hash
        Hash of what the content was made from; empty where content speaks for itself, as for models.
    paths
        Relative paths; None: everything.
    """
    names = content_files(folder) if paths is None else sorted(set(paths))

    def describe(name: str) -> ManifestFile:
        return ManifestFile(path=name, size=(folder / name).stat().st_size, sha256=sha256_file(folder / name))

    with ThreadPoolExecutor(HASHED_AT_A_TIME) as pool:  # hashing leaves other threads of Python alone
        files = tuple(pool.map(describe, sorted(names, key=str.encode)))
    return Manifest(inputs_hash=inputs_hash, files=files, digest=digest_of(files))
