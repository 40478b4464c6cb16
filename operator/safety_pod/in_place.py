"""Whether a model that stays where it came from is still the one that was given its digest.

Asked before a server loads it: a gate compares digests, and a claim may be written to. Compared are all
sizes, and digests of files of up to :data:`SMALL_BYTES` and of larger ones that were written after theirs was
made.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

FOLDER = "SAFETY_SERVER_IN_PLACE"
"""Variable: folder of links to such a model; empty: the model is a copy, which nobody changes."""
MANIFEST = "manifest.json"
"""What the fetch stage found, next to the links."""
SMALL_BYTES = 256 * 2**20
CHUNK_BYTES = 2**22


def find_change() -> str:
    """What is otherwise than when the model got its digest, in words; empty: nothing."""
    folder = os.environ.get(FOLDER, "")
    return find_change_in(Path(folder)) if folder else ""


def find_change_in(folder: Path) -> str:
    """The same of a folder."""
    manifest = folder / MANIFEST
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        made = manifest.stat().st_mtime
        found = next((file["path"] for file in files if _is_changed(folder / file["path"], file, made)), "")
    except OSError as error:
        return f"{error.filename or folder} cannot be read ({error.strerror})"
    return f"{folder / found} has another content" if found else ""


def _is_changed(path: Path, file: dict[str, Any], made: float) -> bool:
    found = path.stat()
    if found.st_size != file["size"]:
        return True
    # A node unpacks an image whenever it likes: there only the files' own times say something.
    written = found.st_mtime if "/in-place/oci/" in str(path) else max(found.st_mtime, found.st_ctime)
    return (found.st_size <= SMALL_BYTES or written > made) and _sha256(path) != file["sha256"]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
