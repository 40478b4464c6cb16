"""Shard files: finished rows go to disk as they come, and a restarted stage skips them.

While a stage runs, every try appends to a part of its own (``rows-part-0001-5f3a9c1e.jsonl``), so nothing is
ever written behind the torn last line of a killed try, and no name is ever used twice. At the end the parts
become sorted shards (``rows-00000.jsonl``), so that the same rows give the same digest, however often the
stage was killed. Who reads rows while they are still being written uses :class:`RowTail`.
"""

import errno
import os
import secrets
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from safety_worker.artifacts.files import fsync_path, write_lines
from safety_worker.artifacts.store import ArtifactStore
from safety_worker.rows import KeyedRow

FSYNC_SECONDS = 1.0
"""Longest time that a finished row may live in the kernel's cache only. A killed process loses nothing of
it; a machine that loses power loses a second."""

SHARD_ROWS = 50_000
"""Rows in a final shard."""

TAIL_BYTES = 8 * 1024 * 1024
"""What is read of a growing part at a time; more where a single row is longer."""


RowT = TypeVar("RowT", bound=KeyedRow)


def read_rows(folder: Path, prefix: str, kind: type[RowT]) -> dict[str, RowT]:
    """All rows of a folder's shards and parts, by key. Torn last lines of parts are ignored."""
    rows: dict[str, RowT] = {}
    for path in sorted(folder.glob(f"{prefix}-*.jsonl")):
        for row in _rows_of(path, kind):
            rows.setdefault(row.key, row)
    return rows


def _rows_of(path: Path, kind: type[RowT]) -> Iterator[RowT]:
    with path.open("rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                return  # torn by a kill: the row counts as not finished
            yield kind.model_validate_json(line)


class RowTail(Generic[RowT]):
    """Reads the rows of another stage while it still writes them. Rows may come twice: keys tell."""

    def __init__(self, folder: Path, prefix: str, kind: type[RowT]) -> None:
        self._folder = folder
        self._prefix = prefix
        self._kind = kind
        self._offsets: dict[str, int] = {}

    def read(self) -> list[RowT]:
        """Rows that were finished since the last call; empty where there are none or no folder."""
        parts = sorted(self._folder.glob(f"{self._prefix}-part-*.jsonl"))
        return [row for path in parts for row in self._read_part(path)]

    def _read_part(self, path: Path) -> list[RowT]:
        offset = self._offsets.get(path.name, 0)
        try:
            with path.open("rb") as stream:
                stream.seek(offset)
                data = stream.read(TAIL_BYTES)
                while b"\n" not in data and (more := stream.read(TAIL_BYTES)):
                    data += more
        except FileNotFoundError:  # became part of a shard since it was listed
            return []
        end = data.rfind(b"\n") + 1
        self._offsets[path.name] = offset + end
        return [self._kind.model_validate_json(line) for line in data[:end].split(b"\n")[:-1]]


class ShardWriter(Generic[RowT]):
    """Appends rows to a new part and turns all parts into shards at the end."""

    def __init__(self, store: ArtifactStore, out: str, prefix: str, kind: type[RowT]) -> None:
        self._prefix = prefix
        self._kind = kind
        self.folder = store.output(out)
        self.finished: set[str] = set(read_rows(self.folder, prefix, kind))
        """Keys that are done, those of earlier tries included."""
        self._dirty = False
        self._open_part()

    def _open_part(self) -> None:
        """Open a part that no other try has, not even one that is still ending in another pod."""
        parts = self.folder.glob(f"{self._prefix}-part-*.jsonl")
        number = max((int(path.stem.split("-")[-2]) for path in parts), default=0) + 1
        self._name = f"{self._prefix}-part-{number:04d}-{secrets.token_hex(4)}.jsonl"
        self._stream = (self.folder / self._name).open("xb", buffering=0)
        fsync_path(self.folder)

    def append(self, row: RowT) -> None:
        """Hand a finished row to the kernel; from here on a kill of this process does not lose it.

        Raises
        ------
        OSError
            If the volume is full. Nothing more may follow what was written of the row.
        """
        line = row.to_json().encode("utf-8") + b"\n"
        written = self._stream.write(line)
        if written != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder / self._name))
        self.finished.add(row.key)
        self._dirty = True

    def sync(self) -> None:
        """Write appended rows to the disk.

        May take its time in a thread of its own while rows are appended; one call at a time.
        """
        if self._dirty:
            self._dirty = False
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the part after writing it to disk. Closing twice does nothing."""
        if not self._stream.closed:
            self.sync()
            self._stream.close()

    def consolidate(self, only: Collection[str] | None = None) -> dict[str, RowT]:
        """Turn all parts into sorted shards and give back the rows by key.

        ``only``: keys to keep; None: all.
        """
        self.close()
        rows = read_rows(self.folder, self._prefix, self._kind)
        if only is not None:
            rows = {key: row for key, row in rows.items() if key in only}
        keys = sorted(rows)
        for number, start in enumerate(range(0, max(len(keys), 1), SHARD_ROWS)):
            chunk = keys[start : start + SHARD_ROWS]
            write_lines(
                self.folder / f"{self._prefix}-{number:05d}.jsonl", (rows[key].to_json() for key in chunk)
            )
        for part in sorted(self.folder.glob(f"{self._prefix}-part-*.jsonl")):
            part.unlink(missing_ok=True)
        return rows
