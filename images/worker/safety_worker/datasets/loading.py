"""Load a data set: files to valid rows and a list of what is malformed. Order of rows is the files' order."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from safety_records.data import Columns, Dataset, RowFilter
from safety_records.presets import all_uris
from safety_worker.artifacts.digests import sha256_file
from safety_worker.context import StageContext
from safety_worker.datasets.audit_trail import AUDIT_TRAIL, read_audit_trail, torn_files
from safety_worker.datasets.harmful_tasks import read_harmful_tasks
from safety_worker.datasets.labels import Meanings
from safety_worker.datasets.parsing import ParsedRow, Wanted, parse_records
from safety_worker.datasets.presets import (
    NOT_COUNTED,
    Preset,
    bundled_files,
    bundled_records,
    find_preset,
    published_records,
)
from safety_worker.datasets.readers import RawRecord, read_file
from safety_worker.datasets.resolve import DataFile, find_files
from safety_worker.datasets.unrecognised import Unrecognised
from safety_worker.errors import InputError
from safety_worker.rows import DroppedRow, PromptRow
from safety_worker.text import fold
from safety_worker.transport.uris import shown_uri

MAX_INVALID_SHARE = 0.02
"""Share of malformed rows from which an evaluation set is refused."""

SHOWN_PROBLEMS = 3
"""Malformed rows that a message quotes."""

PRESET_COLUMNS = Columns(
    response="response",
    categories="categories",
    label="label",
    unsafe_prompt="unsafe_prompt",
    prompt_label="prompt_label",
)
"""Names under which every preset's records come."""

TALK_COLUMNS = PRESET_COLUMNS.model_copy(update={"messages": "messages"})
"""Those of a preset with conversations."""


@dataclass(frozen=True)
class DataSource:
    """A data set that was found and can be read, from its first row and more than once."""

    name: str
    dataset: Dataset
    preset: Preset | None
    files: tuple[DataFile, ...]
    digest: str
    """``sha256:`` over the files' content."""
    changed: tuple[str, ...] = ()
    """Files that are not those that were published."""
    cut: tuple[str, ...] = ()
    """URIs that have more records than are read."""
    left_out: tuple[str, ...] = ()
    """What of its folders was left out and why, a sentence for each reason."""

    @property
    def title(self) -> str:
        """What it is."""
        return self.preset.title if self.preset else shown_uri(self.dataset.uri)

    @property
    def licence(self) -> str:
        """Under which licence it is published."""
        return self.preset.licence if self.preset else "not stated"

    @property
    def origin(self) -> str:
        """URI or package version."""
        return shown_uri(self.dataset.uri) or (self.preset.version if self.preset else "")

    def describe(self) -> dict[str, object]:
        """What it is, for reports."""
        return {"title": self.title, "licence": self.licence, "origin": self.origin, "digest": self.digest}

    @property
    def columns(self) -> Columns:
        """Under which names its records hold what."""
        if self.preset is None:
            return self.dataset.columns
        columns = TALK_COLUMNS if self.preset.messages else PRESET_COLUMNS
        return columns.model_copy(update={"labels": self.dataset.columns.labels})

    def warnings(self, read: int, rows: int, distinct: int, *, narrowed: bool) -> list[str]:
        """What to know of how it was read.

        Parameters
        ----------
        read, rows, distinct
            Records, rows that the preset leaves, different prompts: compared with those that were published.
        narrowed
            Whether filters or subsets leave out others, so that there is nothing to compare.
        """
        texts = [
            f"only the first {self.dataset.max_records} records of {uri} were read (maxRecords)"
            for uri in self.cut
        ]
        known = self.preset.published if self.preset and not narrowed and not self.cut else NOT_COUNTED
        counts = (
            (read, known.read, "records"),
            (rows, known.rows, "rows after its filters"),
            (distinct, known.distinct, "different prompts"),
        )
        texts += [
            f"{have} {words}, but {count} were published: it has changed"
            for have, count, words in counts
            if count is not None and have != count
        ]
        texts += [f"{file} is not the file that was published" for file in self.changed]
        return [f"source {self.name}: {text}" for text in (*texts, *self.left_out)]

    def rows(self, seen: set[str] | None = None, stratum: str = "") -> Iterator[ParsedRow | DroppedRow]:
        """Rows in the files' order, malformed and filtered ones as what they are.

        Parameters
        ----------
        seen
            Gets the names of all columns.
        stratum
            Column of the files whose values are strata; empty: none is.

        Raises
        ------
        InputError
            If a file cannot be read, or, after the last row, if no record has a column that columns or
            filters name.
        """
        seen = set() if seen is None else seen
        columns = self.columns
        wanted = Wanted(columns, Meanings(columns.labels), self.dataset.filters, stratum)
        if self.preset and self.preset.files:
            where = (self.name, self.preset.files[0])
            yield from parse_records(where, read_harmful_tasks(self.files), wanted, seen)
            return
        if self.preset and self.preset.name == AUDIT_TRAIL:
            yield from parse_records(
                (self.name, AUDIT_TRAIL), read_audit_trail(self.name, self.files), wanted, seen
            )
            return
        for file in self.files:
            records = islice(self._records(file, stratum), file.records)
            yield from parse_records((self.name, file.name), records, wanted, seen)
        _check_columns(self, seen)

    def _records(self, file: DataFile, stratum: str) -> Iterator[RawRecord]:
        """Records of a file, with the columns that somebody asks for."""
        asked = {stratum, *(item.column for item in self.dataset.filters)}
        if self.preset is None:
            named = self.columns.model_dump(exclude={"labels"})
            return read_file(file.path, asked | set(named.values()))
        if not self.dataset.uri:
            return bundled_records(self.preset, file)
        return published_records(self.preset, file, asked)


@dataclass(frozen=True)
class LoadedData:
    """A data set in memory."""

    source: DataSource
    rows: tuple[PromptRow, ...]
    invalid: tuple[DroppedRow, ...]
    filtered: tuple[DroppedRow, ...]
    """Records that a preset or a filter leaves out."""
    read: int
    """Records, malformed and filtered ones included."""
    warnings: tuple[str, ...] = ()
    """What of its folders was left out, and what was read and not understood, a sentence for each reason."""


def open_dataset(
    name: str, dataset: Dataset, context: StageContext, subsets: Iterable[str] = ()
) -> DataSource:
    """Find a data set's files.

    Parameters
    ----------
    name
        Name that rows remember as their source.
    dataset
        What to read. Its ``limit`` is not applied: sampling comes after de-duplication.
    context
        Where inputs are mounted.
    subsets
        Those that are wanted, where the data set has a folder for each; all of them if empty.

    Raises
    ------
    InputError
        If the data set cannot be found.
    """
    if not dataset.preset and not dataset.uri:
        raise InputError("InvalidDataset", f"{name}: name a preset or a uri")
    preset = find_preset(dataset.preset) if dataset.preset else None
    uris = all_uris(dataset.preset, dataset.uri, subsets) if dataset.uri else ()
    only = preset.only if preset else "*"
    whole = preset is not None and (preset.files or preset.name == AUDIT_TRAIL or not uris)
    if dataset.max_records is not None and preset and whole:
        raise InputError("InvalidDataset", f"{name}: {preset.name} is read whole: leave maxRecords out")
    files: list[DataFile] = []
    left_out: list[str] = []
    cut = []
    for uri in uris:
        found = find_files(uri, context, dataset.token_env, only, dataset.max_records)
        files += found.files
        left_out += found.left_out
        if any(file.cut for file in found.files):
            cut.append(shown_uri(uri))
    if preset and not uris:
        files = bundled_files(preset)
    if preset and preset.name == AUDIT_TRAIL:
        left_out += torn_files(files)
    digest = hashlib.sha256()
    changed = []
    for file in files:
        own = sha256_file(file.path)
        digest.update(f"{file.name}\0{own}\n".encode())
        known = preset.digests.get(file.name) if preset and not file.cut else None
        if known not in {None, own}:
            changed.append(file.name)
    return DataSource(
        name=name,
        dataset=dataset,
        preset=preset,
        files=tuple(files),
        digest=f"sha256:{digest.hexdigest()}",
        changed=tuple(changed),
        cut=tuple(cut),
        left_out=tuple(left_out),
    )


def load_dataset(name: str, dataset: Dataset, context: StageContext) -> LoadedData:
    """Read all rows of a data set into memory; arguments as of :func:`open_dataset`.

    Raises
    ------
    InputError
        If it cannot be found or read, or no record has a column that is named.
    """
    source = open_dataset(name, dataset, context)
    rows: list[PromptRow] = []
    dropped: dict[str, list[DroppedRow]] = {"invalid": [], "filtered": []}
    unrecognised = Unrecognised()
    for item in source.rows():
        if isinstance(item, DroppedRow):
            dropped[item.reason].append(item)
        else:
            unrecognised.add(item.unrecognised)
            rows.append(item.prompt_row(name))
    return LoadedData(
        source=source,
        rows=tuple(rows),
        invalid=tuple(dropped["invalid"]),
        filtered=tuple(dropped["filtered"]),
        read=len(rows) + sum(map(len, dropped.values())),
        warnings=(*source.left_out, *unrecognised.words()),
    )


def check_invalid(data: LoadedData, max_share: float) -> None:
    """Refuse a data set with too many malformed rows.

    Raises
    ------
    InputError
        Naming the first of them by file and line.
    """
    check_invalid_rows(
        data.source.name, data.invalid[:SHOWN_PROBLEMS], len(data.invalid), data.read, max_share
    )


def check_invalid_rows(
    name: str, examples: Sequence[DroppedRow], invalid: int, read: int, max_share: float
) -> None:
    """Refuse a data set of ``read`` records of which ``invalid`` are malformed, ``examples`` among them.

    Raises
    ------
    InputError
        Naming the examples by file and line.
    """
    if not invalid or invalid / read <= max_share:
        return
    shown = "; ".join(
        f"{row.file}{f' line {row.line}' if row.line else f' record {row.index}'}: {row.detail}"
        for row in examples
    )
    raise InputError(
        "TooManyInvalidRows",
        f"{name}: {invalid} of {read} rows are malformed, {max_share:.2%} are allowed: {shown}",
    )


def _check_columns(source: DataSource, seen: set[str]) -> None:
    """Refuse a column that no record has. Where no record could be read at all there is nothing to say."""
    columns = Columns(prompt="") if source.preset else source.columns
    filters: Sequence[RowFilter] = source.dataset.filters
    named = [
        ("columns.prompt", "" if columns.messages else columns.prompt),
        ("columns.messages", columns.messages),
        ("columns.system", columns.system),
        ("columns.response", columns.response),
        ("columns.categories", columns.categories),
        ("columns.label", columns.label),
        ("columns.promptLabel", columns.prompt_label),
        ("columns.unsafePrompt", columns.unsafe_prompt),
        *((f"filters[{number}].column", item.column) for number, item in enumerate(filters)),
    ]
    for field, column in named:
        if column and seen and column not in seen:
            have = ", ".join(sorted(seen)[:20])
            raise InputError(
                "MissingColumn",
                f"{source.name} has no column {column!r}, it has {have}{_lookalike(column, seen)}: "
                f"set {field} to one of them",
            )


def _lookalike(column: str, seen: Iterable[str]) -> str:
    """A name that looks like the one that was given, with what cannot be seen of it spelt out."""
    other = next((name for name in seen if fold(name) == fold(column)), None)
    return "" if other is None else f"; {other!a} differs in case, spaces or hidden characters"
