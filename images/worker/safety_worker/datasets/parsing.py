"""From a record of a file to a row, or to why it is none. No message quotes the text of a data set."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from safety_records.data import Columns, RowFilter
from safety_worker.datasets.categories import categories_of, stratum_name
from safety_worker.datasets.cells import (
    MISSING_TEXTS,
    CellError,
    cell_text,
    is_null,
    name_of,
    plain_value,
    read_cell,
)
from safety_worker.datasets.conversation import Conversation, read_conversation, with_system
from safety_worker.datasets.filters import why_left_out
from safety_worker.datasets.labels import NO_LABEL, Label, Meanings
from safety_worker.datasets.readers import RawRecord
from safety_worker.datasets.unrecognised import UnrecognisedCell
from safety_worker.rows import DroppedRow, Message, Origin, PromptRow, digest_of_normal
from safety_worker.text import fold, normal_form


class Wanted(NamedTuple):
    """What is asked of the records of a data set."""

    columns: Columns
    """Which column holds what."""
    meanings: Meanings
    """Of labels."""
    filters: Sequence[RowFilter] = ()
    """What records must fulfil to be part of the source."""
    stratum: str = ""
    """Column of the file whose values are strata; empty: none is."""


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
    unlabelled: bool
    """Prompts have labels, and this one has none."""
    stratum: str
    """Empty: it has none."""
    unrecognised: tuple[UnrecognisedCell, ...]
    """What was not understood of it."""

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
    origin: tuple[str, str], records: Iterable[RawRecord], wanted: Wanted, seen: set[str]
) -> Iterator[ParsedRow | DroppedRow]:
    """Rows of a file, malformed and filtered ones as what they are.

    Parameters
    ----------
    origin
        The source and the file.
    records
        Of the file.
    wanted
        What is asked of them.
    seen
        Gets the names of all columns.
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
        try:
            if not row:
                row, reason = record.filtered or why_left_out(fields, wanted.filters), "filtered"
            if not row:
                row, reason = parse(record, file, wanted), "invalid"
        except CellError as error:
            row, reason = str(error), "invalid"
        if isinstance(row, str):
            yield DroppedRow(
                source=source, file=file, index=record.index, line=record.line, reason=reason, detail=row
            )
        else:
            yield row


def parse(record: RawRecord, file: str, wanted: Wanted) -> ParsedRow | str:
    """The row of a record, or why it has none.

    Raises
    ------
    CellError
        If a cell that a field asks for cannot be read: the row has none for this reason.
    """
    value, columns = record.value, wanted.columns
    conversation = _conversation(value, columns)
    if isinstance(conversation, str):
        return conversation
    context, prompt, response = conversation
    normal = normal_form(prompt)
    if not normal:
        return f"{columns.prompt!r} is empty"
    own, system, request = (
        read_cell(cell_text, value, column) or "" if column else ""
        for column in (columns.response, columns.system, columns.unsafe_prompt)
    )
    label = _label(value, columns.label, wanted.meanings)
    prompt_label = _label(value, columns.prompt_label, wanted.meanings)
    fields = record.fields if record.fields is not None else value
    return ParsedRow(
        file=file,
        index=record.index,
        line=record.line,
        prompt=prompt,
        normal=normal,
        context=with_system(context, system) if system else context,
        response=own or response,
        categories=read_cell(categories_of, value, columns.categories) if columns.categories else (),
        id=read_cell(name_of, value, columns.id) if columns.id else "",
        label=label.meaning or label.name,
        unsafe_prompt=request if request and normal_form(request) not in {"", normal} else "",
        benign=prompt_label.meaning == "safe",
        unlabelled=bool(columns.prompt_label) and not prompt_label.name,
        stratum=read_cell(stratum_name, fields, wanted.stratum)[:200] if wanted.stratum else "",
        unrecognised=(
            *_unrecognised_label("label", columns.label, label),
            *_unrecognised_label("promptLabel", columns.prompt_label, prompt_label),
            *_no_texts(columns, prompt, own),
        ),
    )


def _conversation(value: dict[str, Any], columns: Columns) -> Conversation | str:
    """The conversation that a record's prompt ends, or why there is none."""
    if columns.messages:
        turns = read_cell(plain_value, value, columns.messages)
        return f"no {columns.messages!r}" if is_null(turns) else read_conversation(turns)
    prompt = read_cell(cell_text, value, columns.prompt)
    return f"no {columns.prompt!r}" if prompt is None else Conversation((), prompt, "")


def _label(value: dict[str, Any], column: str, meanings: Meanings) -> Label:
    return read_cell(meanings.read, value, column) if column else NO_LABEL


def _unrecognised_label(field: str, column: str, label: Label) -> tuple[UnrecognisedCell, ...]:
    if label.divided:
        return (UnrecognisedCell("divided", field, column),)
    if label.name and label.meaning is None:
        return (UnrecognisedCell("unknown", field, column, fold(label.name)),)
    return ()


def _no_texts(columns: Columns, prompt: str, response: str) -> tuple[UnrecognisedCell, ...]:
    """Texts that are more often a missing cell."""
    named = (("prompt", columns.messages or columns.prompt, prompt), ("response", columns.response, response))
    return tuple(
        UnrecognisedCell("nothing", field, column) for field, column, text in named if text in MISSING_TEXTS
    )
