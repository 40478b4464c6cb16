"""What became of rows that go no further: ``dropped.parquet``, to be queried like any table."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from safety_worker.artifacts.files import atomic_path
from safety_worker.blending.row_table import RowTable

DROPPED_NAME = "dropped.parquet"

SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("file", pa.string()),
        ("index", pa.int64()),
        ("line", pa.int64()),
        ("digest", pa.string()),
        ("part", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""``digest`` is null for records that are no row; ``line`` where a format has no lines."""

CHUNK = 65536
"""Lines that are made at a time."""


DroppedRows = dict[str, dict[int, str]]
"""By reason: rows of the table with the detail."""


class Unread(NamedTuple):
    """A record that was left out while it was read."""

    source: str
    file: str
    index: int  # type: ignore[assignment]
    line: int | None
    reason: str
    """invalid or filtered."""
    detail: str


def write_dropped(
    folder: Path,
    unread: list[Unread],
    table: RowTable,
    dropped: DroppedRows,
    retain: frozenset[str],
) -> None:
    """Write the table, sorted by source, file, index and reason."""
    tables = [pa.Table.from_batches(_of_unread(unread, retain), SCHEMA)]
    for reason, rows in sorted(dropped.items()):
        tables.append(pa.Table.from_batches(_of_rows(table, reason, rows, retain), SCHEMA))
    whole = pa.concat_tables(tables)
    order = pc.sort_indices(
        whole, sort_keys=[(name, "ascending") for name in ("source", "file", "index", "reason")]
    )
    with atomic_path(folder / DROPPED_NAME) as path:
        pq.write_table(whole.take(order), path, compression="zstd")


def read_dropped(folder: Path) -> pa.Table:
    """The table."""
    return pq.read_table(folder / DROPPED_NAME)


def count_outcomes(unread: list[Unread], table: RowTable, dropped: DroppedRows) -> Counter[tuple[str, str]]:
    """Rows by source and reason."""
    found = Counter((item.source, item.reason) for item in unread)
    for reason, rows in dropped.items():
        sources = table.numbers["source"][np.fromiter(rows, np.int64, len(rows))]
        for code, count in zip(*np.unique(sources, return_counts=True), strict=True):
            found[table.sources.values[code], reason] += int(count)
    return found


def _of_unread(unread: list[Unread], retain: frozenset[str]) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(unread), CHUNK):
        rows = [
            item._asdict() | {"part": "retain" if item.source in retain else "safety"}
            for item in unread[start : start + CHUNK]
        ]
        yield pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def _of_rows(
    table: RowTable, reason: str, rows: dict[int, str], retain: frozenset[str]
) -> Iterator[pa.RecordBatch]:
    wanted = np.fromiter(rows, np.int64, len(rows))
    details = list(rows.values())
    parts = ["retain" if name in retain else "safety" for name in table.sources.values]
    for start in range(0, len(wanted), CHUNK):
        chosen = wanted[start : start + CHUNK]
        numbers = table.numbers[chosen]
        lines = numbers["line"]
        columns = [
            pa.array(table.sources.values, pa.string()).take(pa.array(numbers["source"])),
            pa.array(table.files.values, pa.string()).take(pa.array(numbers["file"])),
            pa.array(numbers["index"]),
            pa.array(lines, mask=lines == 0),
            pa.array([table.digest(row).hex() for row in chosen.tolist()], pa.string()),
            pa.array(parts, pa.string()).take(pa.array(numbers["source"])),
            pa.array([reason] * len(chosen), pa.string()),
            pa.array(details[start : start + CHUNK], pa.string()),
        ]
        yield pa.record_batch(columns, schema=SCHEMA)
