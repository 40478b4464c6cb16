"""What every target of a push offers: look what is there, then send what is missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from safety_worker.models.model_folder import choose_files
from safety_worker.transport.meter import Meter


@dataclass(frozen=True)
class LocalFile:
    """A file that is to be at the target."""

    name: str
    path: Path
    size: int
    sha256: str
    """Hexadecimal digits."""


@dataclass(frozen=True)
class Seen:
    """What is at a target, compared with what is to be there."""

    same: frozenset[str] = frozenset()
    """Names of our files whose content is there."""
    other: tuple[str, ...] = ()
    """Names of our files under which there is another content."""
    stale: tuple[str, ...] = ()
    """Files of another model, which no reader may take for a part of ours."""
    untouched: bool = False
    """Whether nothing is lost when others give way: the same content has another name, too."""
    revision: str = ""
    """Commit or digest that names the content; empty: the target knows none, or there is nothing yet."""
    absent: bool = False
    """Whether the target's own name, such as a branch, does not exist yet, whatever its content will be."""

    def has_all(self, files: Sequence[LocalFile]) -> bool:
        """Whether the target holds our model and no other."""
        return not self.absent and not self.stale and all(file.name in self.same for file in files)


class Target(Protocol):
    """A place that files are sent to."""

    def look(self, files: Sequence[LocalFile]) -> Seen:
        """Compare what is there, by the target's own digests."""

    def send(self, files: Sequence[LocalFile], seen: Seen, meter: Meter) -> None:
        """Send what ``seen`` misses, and take away what is stale. What an earlier try has sent is used."""

    def pinned(self, revision: str) -> str:
        """The URI that names the content of a revision."""


def find_stale(there: Iterable[str], files: Sequence[LocalFile]) -> tuple[str, ...]:
    """Names at a target that would be read as a part of our model and are none."""
    ours = {file.name for file in files}
    top = [name for name in there if "/" not in name]
    return tuple(name for name in choose_files({*top, *ours}) if name not in ours)
