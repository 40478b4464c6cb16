"""Models in the artifact store: ``<namespace>/models/<digest hex>/`` holds the files and a manifest.

A model that stays on the claim or in the image that it came in has a folder of links instead
(``safety_records.in_place``), so that whoever reads it finds it like any other.
"""

import fcntl
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safety_records.in_place import in_place_path
from safety_records.manifest import MANIFEST_NAME, Manifest
from safety_worker.artifacts.digests import TEMPORARY_PREFIX, build_manifest
from safety_worker.artifacts.files import atomic_write_text, fsync_path
from safety_worker.artifacts.store import ArtifactStore
from safety_worker.errors import InfrastructureError

LOCK_POLL_SECONDS = 1.0
"""Time between two looks at whether the other pod is done."""


@dataclass(frozen=True)
class StoredModel:
    """A model that is in the store."""

    path: str
    """Relative to the artifact root."""
    manifest: Manifest
    max_length: int | None
    """Longest sequence in tokens, None where the configuration does not say."""


def find_manifest(store: ArtifactStore, path: str) -> Manifest | None:
    """The manifest of a model all of whose files are there, with their sizes; None: it has to be fetched."""
    manifest, folder = store.manifest(path), store.path(path)
    sizes = {file.path: file.size for file in manifest.files} if manifest else {}
    there = {name: (folder / name).stat().st_size for name in sizes if (folder / name).is_file()}
    return manifest if there == sizes else None


def incoming_folder(store: ArtifactStore, models: str, out: str) -> Path:
    """Where a stage's model arrives. The name depends on the stage alone: a restarted pod goes on there."""
    name = hashlib.sha256(out.encode()).hexdigest()[:16]
    folder = store.path(f"{models}/{TEMPORARY_PREFIX}{name}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def hash_files(folder: Path, files: list[str], uri: str) -> Manifest:
    """Digest of a model's files.

    Raises
    ------
    InfrastructureError
        If a file that stays where it is changed meanwhile.
    """
    before = [_stamp(folder / name) for name in files]
    manifest = build_manifest(folder, paths=files)
    if [_stamp(folder / name) for name in files] != before:
        raise InfrastructureError("ChangedWhileRead", f"{uri} changed while its digest was computed")
    return manifest


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def install(incoming: Path, store: ArtifactStore, path: str, manifest: Manifest) -> None:
    """Rename the folder to its place; a damaged folder, or one of a killed try, is replaced."""
    wanted = {file.path for file in manifest.files}
    for leftover in incoming.iterdir():
        if leftover.name not in wanted:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    for file in manifest.files:
        if not (incoming / file.path).is_symlink():
            (incoming / file.path).chmod(0o644)
            fsync_path(incoming / file.path)
    incoming.chmod(0o755)
    target = store.path(path)
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(incoming / MANIFEST_NAME, manifest.to_json())
    incoming.rename(target)
    fsync_path(target.parent)


def place_of(models: str, uri: str, folder: Path, manifest: Manifest) -> str:
    """Where a model belongs in the store; one of links under the place that they lead to as well."""
    digest = manifest.digest.removeprefix("sha256:")
    if not any((folder / file.path).is_symlink() for file in manifest.files):
        return f"{models}/{digest}"
    return in_place_path(models, uri, manifest.digest)


@contextmanager
def model_lock(lock: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Let one pod at a time fetch a model; the kernel frees the lock of a pod that died.

    Only saves work: on a file system without locks every pod fetches the model, with the same outcome.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                time.sleep(LOCK_POLL_SECONDS)
            except OSError:
                break
            else:
                break
        yield


def link_files(folder: Path, names: list[str], target: Path) -> None:
    """Links to files that stay where they are."""
    for name in names:
        link = target / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(folder / name)
