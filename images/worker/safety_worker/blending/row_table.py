"""All rows of a blend's sources: their text in a file, and in memory about 500 bytes of numbers for each.

Rows are added source by source in the files' order and then looked up by their number.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from safety_worker.blending.near_duplicates import Signatures
from safety_worker.datasets.parsing import ParsedRow
from safety_worker.rows import BlendRow, Message, Origin
from safety_worker.text import form_of_normal, group_form, normal_form

BATCH_ROWS = 8192
"""Rows that are written at a time."""

TEXT_SCHEMA = pa.schema(
    [
        ("prompt", pa.large_string()),
        ("unsafe_prompt", pa.large_string()),
        ("context", pa.large_string()),
        ("response", pa.large_string()),
        ("id", pa.large_string()),
        ("label", pa.large_string()),
    ]
)

NUMBERS = np.dtype(
    [
        ("digest", "S32"),
        ("exact", "<u8", 2),
        ("prompt_form", "<u8"),
        ("request_form", "<u8"),
        ("turn_form", "<u8"),
        ("source", "<i2"),
        ("file", "<i4"),
        ("index", "<i8"),
        ("line", "<i8"),
        ("categories", "<i4"),
        ("stratum", "<i4"),
        ("benign", "?"),
        ("unlabelled", "?"),
        ("usable", "?"),
        ("content", "<u8"),
    ]
)
"""What is known of a row without its text. ``exact`` is the same for rows with the same prompt behind the
same turns; ``prompt_form`` and ``request_form`` for prompts and requests that differ in case, white space or
punctuation only; ``turn_form`` is that of an earlier turn that is in an evaluation set, 0 if none is.
``line`` is 0 where a format has no lines. ``usable``: nobody calls the row's response anything but safe.
``content`` tells rows of one digest apart: which of them stays does not depend on where they stand."""

Numbers = np.ndarray[Any, Any]
Indices = np.ndarray[Any, np.dtype[np.int64]]


def form_key(form: str) -> int:
    """A group form as a number of 64 bits."""
    return int.from_bytes(blake2b(form.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def exact_key(normal: str, context: Sequence[Message]) -> tuple[int, int]:
    """Two numbers of 64 bits that are the same for rows with the same prompt behind the same turns."""
    turns = [[message.role, normal_form(message.content)] for message in context]
    text = f"{normal}\0{json.dumps(turns)}" if turns else normal
    raw = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")


def _text_array(texts: Sequence[str]) -> Any:
    """An Arrow array of texts; ``pa.array`` would import pandas for it, if there is one."""
    raw = [text.encode() for text in texts]
    offsets = np.zeros(len(raw) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, raw), np.int64, len(raw)), out=offsets[1:])
    return pa.LargeStringArray.from_buffers(len(raw), pa.py_buffer(offsets), pa.py_buffer(b"".join(raw)))


class Codes:
    """Values by the number of their first appearance."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[Any, int] = {}

    def number(self, value: Any) -> int:
        """The number of a value."""
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
        return found


class EvaluationSets(NamedTuple):
    """Prompts that must not be trained on."""

    forms: dict[int, str]
    """By the key of a group form: the evaluation set that has it."""
    texts: list[str]
    """Group forms, as many as the sets have different ones."""
    sets: list[str]
    """The evaluation set of each text."""

    @classmethod
    def of(cls, prompts: Iterable[tuple[str, str]]) -> "EvaluationSets":
        """Those of (evaluation set, prompt)."""
        evaluation = cls({}, [], [])
        for name, prompt in prompts:
            form = group_form(prompt)
            key = form_key(form)
            if key not in evaluation.forms:
                evaluation.forms[key] = name
                evaluation.texts.append(form)
                evaluation.sets.append(name)
        return evaluation


class RowTable:
    """Rows that are well formed. ``numbers`` and all lookups are there after :meth:`close`."""

    def __init__(self, path: Path, evaluation: EvaluationSets, threshold: float) -> None:
        self.evaluation = evaluation
        self.signatures = Signatures(threshold)
        """First those of evaluation sets, then the rows'."""
        self.sources = Codes()
        self.files = Codes()
        self.categories = Codes()
        self.strata = Codes()
        self.numbers: Numbers = np.zeros(0, NUMBERS)
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pa.ipc.new_file(str(path), TEXT_SCHEMA)
        self._texts: list[tuple[str, ...]] = []
        self._forms: list[str] = []
        self._records: list[tuple[Any, ...]] = []
        self._parts: list[Numbers] = []
        for start in range(0, len(evaluation.texts), BATCH_ROWS):
            self.signatures.add(evaluation.texts[start : start + BATCH_ROWS])

    def add(self, source: str, row: ParsedRow, stratum: str) -> None:
        """Add a row."""
        form = form_of_normal(row.normal)
        prompt_form = form_key(form)
        request_form = prompt_form
        if row.unsafe_prompt:
            form = group_form(row.unsafe_prompt)
            request_form = form_key(form)
        turns = ""
        if row.context:
            turns = json.dumps([message.model_dump() for message in row.context], ensure_ascii=False)
        self._forms.append(form)
        self._texts.append((row.prompt, row.unsafe_prompt, turns, row.response, row.id, row.label))
        self._records.append(
            (
                row.digest,
                exact_key(row.normal, row.context),
                prompt_form,
                request_form,
                self._examined_turn(row.context),
                self.sources.number(source),
                self.files.number(row.file),
                row.index,
                row.line or 0,
                self.categories.number(row.categories),
                self.strata.number(stratum),
                row.benign,
                row.unlabelled,
                row.label in {"", "safe"},
                form_key(
                    json.dumps([row.prompt, row.unsafe_prompt, row.categories, row.id, row.label, stratum])
                ),
            )
        )
        if len(self._records) == BATCH_ROWS:
            self._flush()

    def _examined_turn(self, context: Sequence[Message]) -> int:
        """Key of the first of a user's earlier turns that is in an evaluation set; 0: none is."""
        if not context or not self.evaluation.forms:
            return 0
        keys = (form_key(group_form(message.content)) for message in context if message.role == "user")
        return next((key for key in keys if key in self.evaluation.forms), 0)

    def _flush(self) -> None:
        if not self._records:
            return
        self.signatures.add(self._forms)
        arrays = [_text_array(column) for column in zip(*self._texts, strict=True)]
        self._writer.write_batch(pa.record_batch(arrays, schema=TEXT_SCHEMA))
        self._parts.append(np.array(self._records, NUMBERS))
        self._texts, self._forms, self._records = [], [], []

    def close(self) -> None:
        """Make all rows readable."""
        self._flush()
        self._writer.close()
        if self._parts:
            self.numbers = np.concatenate(self._parts)
            self._parts = []
        self._reader = pa.ipc.open_file(pa.memory_map(str(self._path)))
        self._batch = lru_cache(maxsize=1024)(self._reader.get_batch)

    def __len__(self) -> int:
        """Rows."""
        return len(self.numbers)

    def digest(self, row: int) -> bytes:
        """A row's digest; numpy gives back bytes without zeros at their end."""
        return bytes(self.numbers["digest"][row]).ljust(32, b"\0")

    def text(self, row: int, column: str) -> str:
        """One text of a row."""
        batch = self._batch(row // BATCH_ROWS)
        return str(batch.column(TEXT_SCHEMA.get_field_index(column))[row % BATCH_ROWS].as_py())

    def whole_form(self, row: int) -> str:
        """Group form of the prompt behind its turns."""
        turns = json.loads(self.text(row, "context") or "[]")
        return group_form("\n".join([*(turn["content"] for turn in turns), self.text(row, "prompt")]))

    def is_wrapped(self, row: int) -> bool:
        """Whether more than the request stands in the prompt, or before it."""
        number = self.numbers[row]
        return bool(number["prompt_form"] != number["request_form"] or self.text(row, "context"))

    def request_form(self, row: int) -> str:
        """Group form of the request."""
        return group_form(self.text(row, "unsafe_prompt") or self.text(row, "prompt"))

    def origin(self, row: int) -> Origin:
        """Where a row comes from."""
        number = self.numbers[row]
        return Origin(
            source=self.sources.values[number["source"]],
            file=self.files.values[number["file"]],
            index=int(number["index"]),
        )

    def rows(
        self, wanted: Iterable[int], part_of: Callable[[int], str], group_of: Callable[[int], str]
    ) -> Iterator[BlendRow]:
        """Rows as the next stages know them."""
        for row in wanted:
            batch = self._batch(row // BATCH_ROWS)
            prompt, unsafe, turns, response, identifier, label = (
                column[row % BATCH_ROWS].as_py() for column in batch.columns
            )
            yield BlendRow(
                digest=self.digest(row).hex(),
                prompt=prompt,
                context=tuple(Message(**turn) for turn in json.loads(turns)) if turns else (),
                response=response,
                categories=self.categories.values[self.numbers["categories"][row]],
                id=identifier,
                label=label,
                unsafe_prompt=unsafe,
                benign=bool(self.numbers["benign"][row]),
                origin=self.origin(row),
                part=part_of(row),
                group=group_of(row),
            )
