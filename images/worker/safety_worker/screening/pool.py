"""Work that several pods share through a folder, and that survives the end of any of them.

Every piece is a file, written by rename. A pod does its own pieces first (number modulo pods) and then those
that are still missing, so one pod alone finishes everything and nobody waits for a pod that never starts.
A piece that two pods make at the same time comes out alike. Used by the screen stage.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from safety_worker.artifacts.files import atomic_write_text
from safety_worker.artifacts.store import ArtifactStore
from safety_worker.errors import InfrastructureError

INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
"""Which pod of an Indexed Job this is; Kubernetes sets it."""


class Pool:
    """A folder of pieces.

    Parameters
    ----------
    store
        Where the folder is.
    work
        Its path in the store.
    index
        Number of this pod, from 0.
    shards
        Number of pods.
    """

    def __init__(self, store: ArtifactStore, work: str, index: int = 0, shards: int = 1) -> None:
        self._folder = store.output(work)
        self._index = index % shards
        self._shards = shards

    def has(self, name: str) -> bool:
        """Whether a piece is done."""
        return (self._folder / name).is_file()

    def names(self) -> set[str]:
        """Names of all pieces that are done."""
        return {path.name for path in self._folder.iterdir()}

    def read(self, name: str) -> Any:
        """Content of a piece that is done."""
        return json.loads((self._folder / name).read_bytes())

    def write(self, name: str, value: Any) -> None:
        """Finish a piece."""
        atomic_write_text(self._folder / name, json.dumps(value, separators=(",", ":")))

    def complete(self, names: Sequence[str], make: Callable[[int], Any]) -> None:
        """See that all pieces are done; return when they are.

        Parameters
        ----------
        names
            Of all pieces.
        make
            Gives the content of a piece by its number. Must depend on nothing but that.
        """
        for number in order_of(len(names), self._index, self._shards):
            if not self.has(names[number]):
                self.write(names[number], make(number))


def order_of(pieces: int, index: int, shards: int) -> list[int]:
    """Order in which a pod does pieces: its own forwards, then those of the others from their ends."""
    order = list(range(index, pieces, shards))
    for step in range(1, shards):
        order += reversed(range((index + step) % shards, pieces, shards))
    return order


def pod_index(environment: Mapping[str, str], shards: int) -> int:
    """Which pod this is, 0 for the only one.

    Raises
    ------
    InfrastructureError
        If there are several and the environment does not say.
    """
    if shards == 1:
        return 0
    value = environment.get(INDEX_VARIABLE, "")
    if not value.isdigit():
        raise InfrastructureError("NoIndex", f"{shards} pods share the work, but {INDEX_VARIABLE} is not set")
    return int(value)
