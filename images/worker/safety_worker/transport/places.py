"""Where files come from: what every kind of place offers, and what is checked before any of them is trusted.

Names in a listing are chosen by whoever fills the place, so they are input like any other.
"""

import errno
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from safety_worker.artifacts.digests import sha256_file
from safety_worker.artifacts.files import inside
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.transport.download import ReadFrom
from safety_worker.transport.meter import Meter
from safety_worker.transport.ranges import LARGE_BYTES

GIB = 1024**3

CHUNK_BYTES = 1024 * 1024
"""Bytes of a local file that are read at a time."""

NOT_IN_THE_KERNEL = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
"""What a file system says that cannot copy to another by itself."""

BLOCK_BYTES = 512
"""Unit of a file's blocks."""

COPIED_BYTES = 64 * 1024 * 1024
"""Bytes that are copied at a time."""

UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of Unicode that no name should have; joiners are part of words in Persian and Hindi."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a place."""

    name: str
    """Path relative to the place."""
    size: int
    """Bytes."""
    sha256: str = ""
    """Hexadecimal digits, where the place says them."""
    ranged: bool = True
    """Whether it can be read from any byte on."""
    real_path: str = ""
    """Of a folder that is mounted: the file itself, wherever links lead; two names may have the same."""


class Place(Protocol):
    """A folder somewhere."""

    def files(self) -> list[RemoteFile]:
        """What is there."""

    def get(self, files: Sequence[RemoteFile], target: Path, meter: Meter) -> None:
        """Fetch files into a folder, under their names; continues what an earlier try has begun."""

    def reading(self, file: RemoteFile) -> AbstractContextManager[ReadFrom]:
        """Read a file from any byte on. What is not asked for does not come, but for what is on its way."""


def fetch_files(
    uri: str, place: Place, files: Sequence[RemoteFile], target: Path, meter: Meter | None = None
) -> None:
    """Fetch files of a place into a folder, after their names and the space for them were checked.

    ``meter`` is told what arrives.

    Raises
    ------
    InputError
        If a name would leave the folder.
    InfrastructureError
        If the files do not fit, or one arrives with another content than the place says.
    """
    for file in files:
        check_name(uri, file.name)
    _check_clashes(uri, (file.name for file in files))
    check_space(uri, target, sum(file.size for file in files) - bytes_in(target))
    place.get(files, target, meter or Meter())
    for file in files:
        check_digest(uri, target / file.name, file.sha256)


def check_name(uri: str, name: str) -> None:
    """Refuse a name that leaves its folder or that no file should have.

    Raises
    ------
    InputError
        If it does.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name:
        raise InputError(
            "UnsafePath", f"{uri} lists a file whose path leaves its folder: refused, ask who fills it"
        )
    if any(unicodedata.category(character) in UNPRINTABLE for character in name):
        raise InputError(
            "UnsafePath",
            f"{uri} has a file whose name holds line ends or other control characters, or is not UTF-8: "
            f"rename {name!a}",
        )
    try:
        inside(Path(), name)
    except ValueError as error:
        raise InputError("UnsafePath", f"{uri} has a file that no folder can hold: {error}") from error


def _check_clashes(uri: str, names: Iterable[str]) -> None:
    """Refuse a file and a folder of one name, which buckets can hold and folders cannot."""
    names = set(names)
    clash = next((str(up) for name in names for up in PurePosixPath(name).parents if str(up) in names), "")
    if clash:
        raise InputError(
            "NameClash", f"{uri} has a file {clash} and files below that name: name one of them in the URI"
        )


def check_space(uri: str, target: Path, num_bytes: int) -> None:
    """Refuse to begin what cannot be finished.

    Raises
    ------
    InfrastructureError
        If ``num_bytes`` do not fit on the volume of ``target``.
    """
    free = shutil.disk_usage(target).free
    if num_bytes > free:
        raise InfrastructureError(
            "ArtifactStoreFull",
            f"{uri} needs {num_bytes / GIB:.2f} GiB, {free / GIB:.2f} GiB are free: free some, or enlarge "
            "the volume",
        )


def by_size(files: Sequence[RemoteFile]) -> tuple[list[RemoteFile], list[RemoteFile]]:
    """Files that come several at a time, and large ones, each of which takes all connections."""
    large = [file for file in files if file.ranged and file.size >= LARGE_BYTES]
    return [file for file in files if file not in large], large


def check_digest(uri: str, path: Path, wanted: str) -> None:
    """Remove a file with another sha256 than ``wanted``; empty: nothing is known.

    Raises
    ------
    InfrastructureError
        If it differs: the next try fetches it again.
    """
    if wanted and sha256_file(path) != wanted:
        path.unlink()
        raise InfrastructureError("DamagedDownload", f"{path.name} of {uri} arrived with another digest")


def bytes_in(folder: Path) -> int:
    """Bytes that all files below a folder take; one that is filled in ranges takes those that it has."""
    return sum(_on_disk(folder.rglob("*")))


def _on_disk(paths: Iterable[Path]) -> Iterable[int]:
    found = (path.stat() for path in paths if path.is_file())
    return (min(file.st_size, file.st_blocks * BLOCK_BYTES) for file in found)


@dataclass(frozen=True)
class FolderPlace:
    """A folder that is mounted or part of the image."""

    folder: Path

    def files(self) -> list[RemoteFile]:
        """All files, sorted; links are followed."""
        return [
            RemoteFile(
                path.relative_to(self.folder).as_posix(),
                path.stat().st_size,
                real_path=os.path.realpath(path),
            )
            for path in self._paths()
            if path.is_file()
        ]

    def broken(self) -> list[str]:
        """Names of links to what is not there."""
        return [
            path.relative_to(self.folder).as_posix()
            for path in self._paths()
            if path.is_symlink() and not path.exists()
        ]

    def _paths(self) -> list[Path]:
        """Everything but folders, sorted; what several links to a folder lead to comes once."""
        found: list[Path] = []
        known: set[str] = set()
        for folder, inner, names in os.walk(self.folder, followlinks=True):
            real = os.path.realpath(folder)
            inner[:] = (
                [] if real in known else sorted(inner, key=lambda name: Path(folder, name).is_symlink())
            )
            found += [] if real in known else [Path(folder, name) for name in names]
            known.add(real)
        return sorted(found)

    def get(self, files: Sequence[RemoteFile], target: Path, meter: Meter) -> None:
        """Copy files."""
        for file in files:
            (target / file.name).parent.mkdir(parents=True, exist_ok=True)
            copy_file(self.folder / file.name, target / file.name, meter)

    @contextmanager
    def reading(self, file: RemoteFile) -> Iterator[ReadFrom]:
        """Read a file in pieces."""
        yield lambda offset: self._read(file, offset)

    def _read(self, file: RemoteFile, offset: int) -> Iterator[bytes]:
        with (self.folder / file.name).open("rb") as content:
            content.seek(offset)
            while chunk := content.read(CHUNK_BYTES):
                yield chunk


def copy_file(source: Path, target: Path, meter: Meter) -> None:
    """Copy a file inside the kernel, in pieces, so that what is done can be said."""
    with source.open("rb") as read, target.open("wb") as written:
        try:
            while copied := os.copy_file_range(read.fileno(), written.fileno(), COPIED_BYTES):
                meter.arrived(copied)
        except OSError as error:
            if error.errno not in NOT_IN_THE_KERNEL:
                raise
            while chunk := read.read(CHUNK_BYTES):
                written.write(chunk)
                meter.arrived(len(chunk))


def check_links(uri: str, place: FolderPlace, wanted: Callable[[str], bool]) -> None:
    """Refuse a folder that lacks a file which it links to, as caches and clones of git-annex do when copied.

    Raises
    ------
    InputError
        Naming the first such link whose name is ``wanted``.
    """
    broken = next(filter(wanted, place.broken()), "")
    if broken:
        raise InputError(
            "BrokenLink",
            f"{broken} of {uri} is a link to what is not there: copy the files themselves (cp -L), with "
            "git-annex run 'git annex get' first",
        )
