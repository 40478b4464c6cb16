"""The files of a blend: training rows, and a table with the fate of every row that any source had."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from safety_worker.artifacts.files import write_lines
from safety_worker.datasets.choosing import Unkept, reason_of
from safety_worker.datasets.dropped import read_dropped
from safety_worker.datasets.fates import KEPT, Fate
from safety_worker.datasets.splitting import Split
from safety_worker.rows import PromptRow, seeded_order

ROWS_NAME = "rows.parquet"
UNKEPT_NAME = "no-safe-answer.jsonl"

MESSAGES = pa.schema([("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))])
"""Training rows: what TRL's SFTTrainer and NeMo-RL's OpenAIFormatDataset read without further settings."""

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


def messages(row: PromptRow, answer: str) -> list[dict[str, str]]:
    """A training row's conversation: its earlier turns, the original prompt, never the wrapper."""
    turns = [message.model_dump() for message in row.context]
    return [*turns, {"role": "user", "content": row.prompt}, {"role": "assistant", "content": answer}]


def write_part(
    folder: Path, name: str, fates: Iterable[Fate], seed: int, output: Literal["jsonl", "parquet"]
) -> None:
    """One training file, in a random order that depends on the seed and the rows only."""
    ordered = sorted(fates, key=lambda fate: seeded_order(seed, fate.row.digest))
    rows = [{"messages": messages(fate.row, fate.answer)} for fate in ordered]
    if output == "jsonl":
        write_lines(folder / f"{name}.jsonl", (json.dumps(row, ensure_ascii=False) for row in rows))
        return
    pq.write_table(pa.Table.from_pylist(rows, schema=MESSAGES), folder / f"{name}.parquet")


def write_table(folder: Path, collected: Path, fates: Iterable[Fate], parts: Split) -> None:
    """``rows.parquet``: every row that any source had, where it comes from, what became of it."""
    own = pa.Table.from_pylist([_table_row(fate, parts) for fate in fates], schema=TABLE)
    dropped = read_dropped(collected).rename_columns({"reason": "fate"})
    for field in TABLE:
        if field.name not in dropped.column_names:
            dropped = dropped.append_column(field, pa.nulls(len(dropped), field.type))
    whole = pa.concat_tables([own, dropped.select(TABLE.names)])
    order = pc.sort_indices(whole, sort_keys=[(name, "ascending") for name in ("source", "file", "index")])
    pq.write_table(whole.take(order), folder / ROWS_NAME)


def _table_row(fate: Fate, parts: Split) -> dict[str, object]:
    row = fate.row
    part = "validation" if row.digest in parts.validation else "train" if not fate.reason else ""
    return (
        _origin(row.origin.source, row.origin.file, row.origin.index, row.digest)
        | {"part": row.part, "group": row.group, "categories": list(row.categories)}
        | {"fate": fate.reason or KEPT, "split": part, "candidate": fate.candidate, "tokens": fate.tokens}
        | {"answer": "" if fate.reason else "source" if fate.source else "model"}
        | {"prompt": row.prompt, "flagged": fate.flagged}
        | (fate.place._asdict() if fate.place else {})
    )


def write_unkept(folder: Path, unkept: Iterable[Unkept]) -> None:
    """``no-safe-answer.jsonl``: rows that no answer was kept for, with all candidates and why not."""
    write_lines(folder / UNKEPT_NAME, map(_unkept_line, unkept))


def _unkept_line(item: Unkept) -> str:
    row, found = item
    record = {
        **_origin(row.origin.source, row.origin.file, row.origin.index, row.digest),
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


def _origin(source: str, file: str, index: int, digest: str) -> dict[str, object]:
    return {"source": source, "file": file, "index": index, "digest": digest}
