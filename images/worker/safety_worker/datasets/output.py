"""The files of a blend: training rows, and a table with the fate of every row that any source had."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from safety_worker.artifacts.files import write_lines
from safety_worker.datasets.choosing import Unkept, reason_of
from safety_worker.datasets.fates import KEPT, Fate, read_dropped
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
        ("digest", pa.string()),
        ("part", pa.string()),
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
    table: list[dict[str, object]] = []
    for fate in fates:
        row = fate.row
        part = "validation" if row.digest in parts.validation else "train" if not fate.reason else ""
        table.append(
            _origin(row.origin.source, row.origin.file, row.origin.index, row.digest)
            | {"part": row.part, "categories": list(row.categories), "fate": fate.reason or KEPT}
            | {"split": part, "candidate": fate.candidate, "tokens": fate.tokens, "prompt": row.prompt}
            | {"answer": "" if fate.reason else "source" if fate.source else "model", "flagged": fate.flagged}
            | (fate.place._asdict() if fate.place else {})
        )
    table += [
        _origin(row.source, row.file, row.index, row.digest) | {"fate": row.reason, "detail": row.detail}
        for row in read_dropped(collected)
    ]
    table.sort(key=lambda record: (str(record["source"]), str(record["file"]), int(str(record["index"]))))
    pq.write_table(pa.Table.from_pylist(table, schema=TABLE), folder / ROWS_NAME)


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
