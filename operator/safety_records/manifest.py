"""Manifest: what makes a folder of the artifact store complete. Written last, by rename."""

import hashlib
from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from safety_records.base import Record

MANIFEST_NAME = "manifest.json"
"""File name inside the folder."""

RESULT_NAME = "result.json"
"""The stage's result, kept next to the manifest and not listed in it: a stage started again
with the same inputs hash prints it and ends at once."""


class ManifestFile(Record):
    """One file of the folder."""

    path: str
    """Relative to the folder, with forward slashes."""
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Record):
    """All files of a folder, sorted by path."""

    version: Literal[1] = 1
    inputs_hash: str = ""
    files: tuple[ManifestFile, ...]
    digest: str
    """sha256 over the sorted ``path NUL sha256 LF`` lines, with the prefix ``sha256:``."""


def digest_of(files: Iterable[ManifestFile]) -> str:
    """Digest of a folder from its files, ``sha256:`` and 64 hexadecimal digits; order does not matter."""
    total = hashlib.sha256()
    for file in sorted(files, key=lambda f: f.path.encode()):
        total.update(file.path.encode() + b"\0" + file.sha256.encode() + b"\n")
    return f"sha256:{total.hexdigest()}"
