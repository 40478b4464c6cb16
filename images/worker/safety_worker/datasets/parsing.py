"""From a record of a file to a row, or to why it is none. No message quotes the text of a data set."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from safety_records.stages import Columns, RowFilter
from safety_worker.datasets.conversation import Conversation, read_conversation, with_system
from safety_worker.datasets.filters import left_out
from safety_worker.datasets.readers import RawRecord
from safety_worker.rows import DroppedRow, Message, Origin, PromptRow, digest_of_normal
from safety_worker.text import clean, has_lone_surrogates, normal_form

MAX_PROMPT_CHARACTERS = 200_000
"""Longer prompts are malformed: no model's context takes them, and one of them can block a server."""

BENIGN_LABELS = frozenset({"safe", "benign", "harmless", "unharmful"})
"""Labels of prompts that ask for no harm."""


class ParsedRow(NamedTuple):
    """A well-formed row."""

    file: str
    index: int  # type: ignore[assignment]
    line: int | None
    prompt: str
    normal: str
    """The prompt in its normal form."""
    context: tuple[Message, ...]
    response: str
    categories: tuple[str, ...]
    id: str
    label: str
    unsafe_prompt: str
    """Empty: the prompt is the request."""
    benign: bool
    """People call the prompt safe."""
    record: dict[str, Any]
    """All columns of the file, under their own names."""

    @property
    def digest(self) -> bytes:
        """The row's digest, 32 bytes."""
        return digest_of_normal(self.normal, normal_form(self.response), self.context)

    def prompt_row(self, source: str) -> PromptRow:
        """The row as other stages know it."""
        return PromptRow(
            digest=self.digest.hex(),
            prompt=self.prompt,
            context=self.context,
            response=self.response,
            categories=self.categories,
            id=self.id,
            label=self.label,
            unsafe_prompt=self.unsafe_prompt,
            benign=self.benign,
            origin=Origin(source=source, file=self.file, index=self.index),
        )


def parse_records(
    origin: tuple[str, str],
    records: Iterable[RawRecord],
    columns: Columns,
    seen: set[str],
    filters: Sequence[RowFilter] = (),
) -> Iterator[ParsedRow | DroppedRow]:
    """Rows of a file, malformed and filtered ones as what they are.

    Parameters
    ----------
    origin
        The source and the file.
    records
        Of the file.
    columns
        Which of them holds what.
    seen
        Gets the names of all columns.
    filters
        What records must fulfil to be part of the source.
    """
    source, file = origin
    last: Any = None
    for record in records:
        fields = record.fields if record.fields is not None else record.value
        keys = fields.keys()
        if keys != last:
            seen.update(keys)
            last = keys
        row: ParsedRow | str = record.problem
        reason = "invalid"
        if not row:
            row, reason = record.filtered or (left_out(fields, filters) if filters else ""), "filtered"
        if not row:
            row, reason = parse(record, file, columns), "invalid"
        if isinstance(row, str):
            yield DroppedRow(
                source=source, file=file, index=record.index, line=record.line, reason=reason, detail=row
            )
        else:
            yield row


def parse(record: RawRecord, file: str, columns: Columns) -> ParsedRow | str:
    """The row of a record, or why it has none."""
    value = record.value
    talk = _talk(value, columns)
    if isinstance(talk, str):
        return talk
    context, prompt, response = talk
    normal = normal_form(prompt)
    texts: list[str] = []
    problem = "" if normal else f"{columns.prompt!r} is empty"
    for column in (columns.response, columns.system, columns.unsafe_prompt):
        text = value.get(column) if column else None
        problem = problem or ("" if text is None else text_problem(column, text))
        texts.append(text or "")
    if problem:
        return problem
    request = texts[2] if texts[2] and normal_form(texts[2]) not in {"", normal} else ""
    return ParsedRow(
        file,
        record.index,
        record.line,
        prompt,
        normal,
        with_system(context, texts[1]) if texts[1] else context,
        texts[0] or response,
        read_categories(value.get(columns.categories)) if columns.categories else (),
        clean_cell(value.get(columns.id, "")) if columns.id else "",
        clean_cell(value.get(columns.label) or "") if columns.label else "",
        request,
        is_benign(value.get(columns.prompt_label)) if columns.prompt_label else False,
        record.fields if record.fields is not None else value,
    )


def _talk(value: dict[str, Any], columns: Columns) -> Conversation | str:
    """The conversation that a record's prompt ends, or why there is none."""
    if columns.messages:
        talk = value.get(columns.messages)
        return f"no {columns.messages!r}" if talk is None else read_conversation(talk)
    prompt = value.get(columns.prompt)
    if prompt is None:
        return f"no {columns.prompt!r}"
    return text_problem(columns.prompt, prompt) or Conversation((), prompt, "")


def text_problem(column: str, text: object) -> str:
    """Why a cell is no text that a model can be given; empty if it is one."""
    if not isinstance(text, str):
        return f"{column!r} is a {type(text).__name__}, not a text"
    if len(text) > MAX_PROMPT_CHARACTERS:
        return f"{column!r} has {len(text)} characters, {MAX_PROMPT_CHARACTERS} are allowed"
    return f"{column!r} holds lone surrogates, which are no text" if has_lone_surrogates(text) else ""


def clean_cell(value: object) -> str:
    """A cell that is passed on and decides nothing, as text that every file can hold."""
    return clean(str(value))


def is_benign(label: object) -> bool:
    """Whether a label calls a prompt safe; what is not known to be safe is taken as unsafe."""
    return isinstance(label, str) and label.strip().casefold() in BENIGN_LABELS


def read_categories(value: object) -> tuple[str, ...]:
    """Categories from a list, or from a comma-separated text; sorted, without duplicates."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    names = (clean_cell(part).strip() for part in parts if part is not None)
    return tuple(sorted({name for name in names if name}))
