"""The files of a blend: training rows, and a table with the outcome of every row that any source had.

Rows come one after the other and go into scratch files, which become the output when it is known which rows
are for validation. So millions of rows need little memory.
"""

import json
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from safety_worker.artifacts.files import atomic_path
from safety_worker.blending.choosing import RowWithoutAnswer, reason_of
from safety_worker.blending.dropped import read_dropped
from safety_worker.blending.outcomes import KEPT, RowOutcome
from safety_worker.blending.splitting import Split
from safety_worker.rows import PromptRow, seeded_order

ROWS_NAME = "rows.parquet"
UNKEPT_NAME = "no-safe-answer.jsonl"

MESSAGES = pa.schema([("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))])
"""Training rows: what TRL's SFTTrainer reads without further settings, and of JSON lines NeMo-RL's
OpenAIFormatDataset."""

TABLE = pa.schema(
    [
        ("source", pa.string()),
        ("file", pa.string()),
        ("index", pa.int64()),
        ("line", pa.int64()),
        ("digest", pa.string()),
        ("part", pa.string()),
        ("group", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("fate", pa.string()),
        ("detail", pa.string()),
        ("split", pa.string()),
        ("candidate", pa.int64()),
        ("answer", pa.string()),
        ("tokens", pa.int64()),
        ("prompt", pa.string()),
        ("flagged", pa.bool_()),
        ("score", pa.float64()),
        ("rank", pa.int64()),
        ("nearest", pa.string()),
    ]
)
"""Rows that were left out before sampling have no prompt and no group; ``line`` is that of their file."""

BATCH_ROWS = 4096
"""Rows that are turned into columns at a time."""


def messages(row: PromptRow, answer: str) -> list[dict[str, str]]:
    """A training row's conversation: its earlier turns, the original prompt, never the wrapper."""
    turns = [message.model_dump() for message in row.context]
    return [*turns, {"role": "user", "content": row.prompt}, {"role": "assistant", "content": answer}]


class TrainingRows:
    """Training rows on their way into files.

    Parameters
    ----------
    scratch
        A file that may be lost.
    seed
        Of the order of the rows.
    """

    def __init__(self, scratch: Path, seed: int) -> None:
        self._stream = scratch.open("w+b")
        self._seed = seed
        self._digests: list[str] = []
        self._starts = array("q", [0])

    def close(self) -> None:
        """Close the scratch file."""
        self._stream.close()

    def add(self, row: PromptRow, answer: str) -> None:
        """One more row."""
        line = json.dumps({"messages": messages(row, answer)}, ensure_ascii=False).encode("utf-8")
        self._stream.write(line)
        self._digests.append(row.digest)
        self._starts.append(self._starts[-1] + len(line))

    def write(self, path: Path, digests: frozenset[str], output: Literal["jsonl", "parquet"]) -> None:
        """Write one training file, in a random order that depends on the seed and the rows only."""
        chosen = [number for number, digest in enumerate(self._digests) if digest in digests]
        chosen.sort(key=lambda number: seeded_order(self._seed, self._digests[number]))
        with atomic_path(path) as temporary:
            if output == "jsonl":
                with temporary.open("wb") as stream:
                    stream.writelines(self._line(number) + b"\n" for number in chosen)
                return
            with pq.ParquetWriter(temporary, MESSAGES) as writer:
                for batch in in_batches(chosen):
                    rows = [json.loads(self._line(number)) for number in batch]
                    writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=MESSAGES))

    def _line(self, number: int) -> bytes:
        start = self._starts[number]
        self._stream.seek(start)
        return self._stream.read(self._starts[number + 1] - start)


class OutcomeTable:
    """``rows.parquet``: every row that any source had, where it comes from, what became of it.

    Rows that were drawn come first, by part and digest, then those that were not.

    Parameters
    ----------
    scratch
        A file that may be lost.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._writer = pa.ipc.new_file(str(scratch), TABLE)
        self._rows: list[dict[str, object]] = []

    def close(self) -> None:
        """Close the scratch file."""
        self._writer.close()

    def add(self, outcome: RowOutcome) -> None:
        """One more row."""
        self._rows.append(_table_row(outcome))
        if len(self._rows) == BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=TABLE))
            self._rows = []

    def write(self, folder: Path, collected: Path, parts: Split) -> None:
        """Write the table, with the side of the split that each row is on."""
        self._flush()
        self.close()
        place = TABLE.get_field_index("split")
        with (
            atomic_path(folder / ROWS_NAME) as temporary,
            pq.ParquetWriter(temporary, TABLE, compression="zstd") as writer,
        ):
            with pa.memory_map(str(self._scratch)) as stream, pa.ipc.open_file(stream) as reader:
                for number in range(reader.num_record_batches):
                    batch = reader.get_batch(number)
                    sides = [_side(digest, parts) for digest in batch.column("digest").to_pylist()]
                    writer.write_batch(batch.set_column(place, TABLE[place], pa.array(sides, pa.string())))
            dropped = read_dropped(collected).rename_columns({"reason": "fate"})
            dropped = pa.concat_tables([TABLE.empty_table(), dropped], promote_options="default")
            for batch in dropped.to_batches(BATCH_ROWS):
                writer.write_batch(batch)


def _side(digest: str, parts: Split) -> str:
    return "validation" if digest in parts.validation else "train" if digest in parts.train else ""


def _table_row(outcome: RowOutcome) -> dict[str, object]:
    row = outcome.row
    return (
        _origin(row)
        | {"part": row.part, "group": row.group, "categories": list(row.categories)}
        | {"fate": outcome.reason or KEPT, "candidate": outcome.candidate, "tokens": outcome.tokens}
        | {"answer": "" if outcome.reason else "source" if outcome.source else "model"}
        | {"prompt": row.prompt, "flagged": outcome.flagged}
        | (outcome.place._asdict() if outcome.place else {})
    )


def rejected_line(item: RowWithoutAnswer) -> str:
    """A row that no answer was kept for, with all candidates and why not, as JSON."""
    row, found = item
    record = {
        **_origin(row),
        "part": row.part,
        "categories": list(row.categories),
        "prompt": row.prompt,
        "reason": reason_of(found),
        "kept": "source" if any(one.source and not one.reason for one in found) else "",
        "candidates": [
            {"candidate": one.candidate, "answer": one.text, "reason": one.reason, "source": one.source}
            for one in found
        ],
    }
    return json.dumps(record, ensure_ascii=False)


def _origin(row: PromptRow) -> dict[str, Any]:
    origin = row.origin
    return {"source": origin.source, "file": origin.file, "index": origin.index, "digest": row.digest}


def in_batches(items: Sequence[int]) -> Iterator[Sequence[int]]:
    """Runs of BATCH_ROWS items, the last one shorter."""
    for start in range(0, len(items), BATCH_ROWS):
        yield items[start : start + BATCH_ROWS]
