"""Load a data set: files to valid rows and a list of what is malformed. Order of rows is the files' order."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from safety_records.stages import Columns, Dataset
from safety_worker.artifacts.digests import sha256_file
from safety_worker.context import StageContext
from safety_worker.datasets.conversation import Conversation, read_conversation, with_system
from safety_worker.datasets.presets import (
    Preset,
    bundled_files,
    bundled_records,
    find_preset,
    published_records,
)
from safety_worker.datasets.readers import RawRecord, read_file
from safety_worker.datasets.resolve import DataFile, resolve_files
from safety_worker.errors import InputError
from safety_worker.rows import DroppedRow, Origin, PromptRow, row_digest
from safety_worker.text import has_lone_surrogates, normal_form

MAX_PROMPT_CHARACTERS = 200_000
"""Longer prompts are malformed: no model's context takes them, and one of them can block a server."""

MAX_INVALID_SHARE = 0.02
"""Share of malformed rows from which an evaluation set is refused."""

SHOWN_PROBLEMS = 3
"""Malformed rows that a message quotes."""


@dataclass(frozen=True)
class LoadedData:
    """A data set in memory."""

    name: str
    rows: tuple[PromptRow, ...]
    invalid: tuple[DroppedRow, ...]
    filtered: tuple[DroppedRow, ...]
    """Records that a preset leaves out."""
    read: int
    """Records, malformed and filtered ones included."""
    digest: str
    """``sha256:`` over the files' content."""
    title: str
    licence: str
    origin: str
    """URI or package version."""

    @property
    def invalid_share(self) -> float:
        """Malformed records of all; 0 for an empty set."""
        return len(self.invalid) / self.read if self.read else 0.0


def load_dataset(name: str, dataset: Dataset, context: StageContext) -> LoadedData:
    """Read all rows of a data set.

    Parameters
    ----------
    name
        Name that rows remember as their source.
    dataset
        What to read. Its ``limit`` is not applied here: sampling comes after de-duplication.
    context
        Where inputs are mounted.

    Raises
    ------
    InputError
        If the data set cannot be found or read, or no record has the prompt column.
    """
    if not dataset.preset and not dataset.uri:
        raise InputError("InvalidDataset", f"{name}: name a preset or a uri")
    preset = find_preset(dataset.preset) if dataset.preset else None
    files = (
        resolve_files(dataset.uri, context, dataset.token_env)
        if dataset.uri
        else bundled_files(find_preset(dataset.preset))
    )
    rows: list[PromptRow] = []
    dropped: dict[str, list[DroppedRow]] = {"invalid": [], "filtered": []}
    seen_columns: set[str] = set()
    digest = hashlib.sha256()
    columns = PRESET_COLUMNS if preset else dataset.columns
    for file in files:
        digest.update(f"{file.name}\0{sha256_file(file.path)}\n".encode())
        records = _records(preset, file, published=bool(dataset.uri))
        for item in _rows(name, file.name, records, columns, seen_columns):
            if isinstance(item, DroppedRow):
                dropped[item.reason].append(item)
            else:
                rows.append(item)
    if preset is None:
        _check_columns(name, columns, seen_columns)
    return LoadedData(
        name=name,
        rows=tuple(rows),
        invalid=tuple(dropped["invalid"]),
        filtered=tuple(dropped["filtered"]),
        read=len(rows) + sum(map(len, dropped.values())),
        digest=f"sha256:{digest.hexdigest()}",
        title=preset.title if preset else dataset.uri,
        licence=preset.licence if preset else "not stated",
        origin=dataset.uri or (preset.version if preset else ""),
    )


PRESET_COLUMNS = Columns(response="response", categories="categories", label="label")
"""Names under which every preset's records come."""


def _records(preset: Preset | None, file: DataFile, *, published: bool) -> Iterator[RawRecord]:
    if preset is None:
        return read_file(file.path)
    return published_records(preset, file) if published else bundled_records(preset, file)


def check_invalid(data: LoadedData, max_share: float) -> None:
    """Refuse a data set with too many malformed rows.

    Raises
    ------
    InputError
        Naming the first of them by file and line.
    """
    if data.invalid_share <= max_share:
        return
    examples = "; ".join(
        f"{row.file}{f' line {row.line}' if row.line else f' record {row.index}'}: {row.detail}"
        for row in data.invalid[:SHOWN_PROBLEMS]
    )
    raise InputError(
        "TooManyInvalidRows",
        f"{data.name}: {len(data.invalid)} of {data.read} rows are malformed, "
        f"{max_share:.2%} are allowed: {examples}",
    )


def _rows(
    source: str, file: str, records: Iterable[RawRecord], columns: Columns, seen: set[str]
) -> Iterator[PromptRow | DroppedRow]:
    for record in records:
        seen.update(record.value)
        problem = record.problem or ("" if record.filtered else _problem(record.value, columns))
        conversation = None
        if columns.messages and not (problem or record.filtered):
            conversation = read_conversation(record.value[columns.messages])
            problem = conversation if isinstance(conversation, str) else ""
        if problem or record.filtered:
            yield DroppedRow(
                source=source,
                file=file,
                index=record.index,
                line=record.line,
                reason="filtered" if record.filtered else "invalid",
                detail=record.filtered or problem,
            )
            continue
        yield _row(record, columns, conversation, Origin(source=source, file=file, index=record.index))


def _row(
    record: RawRecord, columns: Columns, conversation: Conversation | str | None, origin: Origin
) -> PromptRow:
    """A record that is known to be well formed."""
    value = record.value

    def cell(column: str) -> str:
        return str(value.get(column) or "") if column else ""

    if isinstance(conversation, Conversation):
        context, prompt, response = conversation
    else:
        context, prompt, response = (), value[columns.prompt], ""
    response = cell(columns.response) or response
    context = with_system(context, cell(columns.system))
    return PromptRow(
        digest=row_digest(prompt, response, context),
        prompt=prompt,
        context=context,
        response=response,
        categories=_categories(value.get(columns.categories) if columns.categories else None),
        id=str(value.get(columns.id, "")) if columns.id else "",
        label=cell(columns.label),
        unsafe_prompt=_request(cell(columns.unsafe_prompt), prompt),
        origin=origin,
    )


def _request(text: str, prompt: str) -> str:
    """The bare request; empty if there is none, or if it is the prompt itself."""
    return text if normal_form(text) not in {"", normal_form(prompt)} else ""


def _problem(value: dict[str, Any], columns: Columns) -> str:
    """Why a record is malformed; empty if it is not. Never quotes the text."""
    if columns.messages:
        if value.get(columns.messages) is None:
            return f"no {columns.messages!r}"
    else:
        prompt = value.get(columns.prompt)
        if prompt is None:
            return f"no {columns.prompt!r}"
        problem = _text_problem(columns.prompt, prompt)
        if problem:
            return problem
        if not normal_form(prompt):
            return f"{columns.prompt!r} is empty"
    for column in filter(None, (columns.response, columns.system, columns.unsafe_prompt)):
        text = value.get(column)
        problem = "" if text is None else _text_problem(column, text)
        if problem:
            return problem
    return ""


def _text_problem(column: str, text: object) -> str:
    if not isinstance(text, str):
        return f"{column!r} is a {type(text).__name__}, not a text"
    if len(text) > MAX_PROMPT_CHARACTERS:
        return f"{column!r} has {len(text)} characters, {MAX_PROMPT_CHARACTERS} are allowed"
    return f"{column!r} holds lone surrogates, which are no text" if has_lone_surrogates(text) else ""


def _categories(value: object) -> tuple[str, ...]:
    """Categories from a list, or from a comma-separated text; sorted, without duplicates."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    names = (part if isinstance(part, str) else str(part) for part in parts if part is not None)
    return tuple(sorted({name.strip() for name in names if name.strip()}))


def _check_columns(name: str, columns: Columns, seen: set[str]) -> None:
    """Refuse a column that no record has. Where no record could be read at all there is nothing to say."""
    named = {
        "prompt": "" if columns.messages else columns.prompt,
        "messages": columns.messages,
        "system": columns.system,
        "response": columns.response,
        "categories": columns.categories,
        "label": columns.label,
        "unsafePrompt": columns.unsafe_prompt,
    }
    for label, column in named.items():
        if column and seen and column not in seen:
            have = ", ".join(sorted(seen)[:20])
            raise InputError(
                "MissingColumn",
                f"{name} has no column {column!r}, it has {have}: set columns.{label} to one of them",
            )
