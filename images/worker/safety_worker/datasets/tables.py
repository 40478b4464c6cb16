"""Tables of Arrow and Parquet to records of plain values, column by column, such that no value ends a run.

Only columns that somebody asks for are converted. A value that Python has no type for (a date past the year
9999, a time in an unknown zone, bytes that are no UTF-8) becomes a :class:`BadCell`, at any depth. Dates and
times become texts: they are compared and shown, never reckoned with.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from safety_worker.datasets.cells import NOT_READ, BadCell, named
from safety_worker.datasets.decoding import merged

ROWS = 4096
"""Rows that are converted at a time."""

_ERRORS = (
    *(ArithmeticError, LookupError, ValueError, TypeError, NotImplementedError, ImportError),
    pa.ArrowException,
)
"""What libraries raise for a value that Python has no type for: pyarrow, zoneinfo, pytz, pandas."""

_AS_BYTES = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}
"""Types of texts, and how their bytes are read where these are no UTF-8."""

_READ = frozenset({"arrow.bool8", "arrow.uuid"})
"""Extension types whose values mean something else than what they are kept as."""

_ZEROS = re.compile(r"\.(\d*?)0+(?=$|Z|[+-])")
"""Digits behind a second that say nothing."""


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """By column: the names of its numbers, where ``datasets`` wrote them into the file (ClassLabel)."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {column: _names_in(feature) for column, feature in features.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    return {column: names for column, names in found.items() if names}


def _names_in(feature: Any) -> list[str]:
    """Names of a feature, or of what it is a list of."""
    while isinstance(feature, list) or (isinstance(feature, Mapping) and "feature" in feature):
        feature = feature[0] if isinstance(feature, list) else feature["feature"]
    is_class = isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel"
    return [str(name) for name in feature.get("names") or ()] if is_class else []


def asked_columns(names: Collection[str], asked: Collection[str] | None) -> list[int]:
    """Positions of the columns that are wanted; the first where none of them is there: rows are counted."""
    found = [place for place, name in enumerate(names) if asked is None or name in asked]
    return found or [0][: len(names)]


def records_of(
    batch: pa.RecordBatch, names: Collection[str], classes: Mapping[str, list[str]]
) -> Iterator[dict[str, Any]]:
    """The rows of a batch.

    Parameters
    ----------
    batch
        The columns that are wanted.
    names
        Of all columns of the file.
    classes
        As from :func:`class_names`.
    """
    others = dict.fromkeys(names, NOT_READ)
    for start in range(0, batch.num_rows, ROWS):
        part = batch.slice(start, ROWS)
        columns = [
            [_classed(value, classes[name]) for value in cells_of(column)]
            if name in classes
            else cells_of(column)
            for name, column in zip(part.schema.names, part.columns, strict=True)
        ]
        for row in _rows(part.schema.names, columns, part.num_rows):
            yield others | row


def _rows(names: list[str], columns: list[list[Any]], count: int) -> Iterator[dict[str, Any]]:
    """Rows of columns; of two with one name neither counts where they differ."""
    if not columns:
        yield from ({} for _ in range(count))
        return
    unique = len(set(names)) == len(names)
    for row in zip(*columns, strict=True):
        pairs = zip(names, row, strict=True)
        yield dict(pairs) if unique else merged(list(pairs))


def _classed(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_classed(item, names) for item in value]
    if isinstance(value, int) and 0 <= value < len(names):
        return named(names[value], value)
    return None if value == -1 else value  # which datasets writes for no label


def cells_of(column: pa.Array) -> list[Any]:  # noqa: PLR0911 - one for each kind of column
    """The values of a column.

    Raises
    ------
    pyarrow.ArrowException
        If the column as a whole is damaged.
    """
    column = _storage(column)
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _looked_up(column)
    if pa.types.is_struct(kind):
        return _structs(column)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _lists(column)
    if pa.types.is_interval(kind):
        return _bad(column)
    if pa.types.is_temporal(kind):
        return _times(column)
    if kind in _AS_BYTES:
        return _texts(column)
    column.validate(full=True)
    return _values(column)


def _storage(column: pa.Array) -> pa.Array:
    """What an extension type of somebody else's is kept as."""
    while isinstance(column, pa.ExtensionArray) and column.type.extension_name not in _READ:
        column = column.storage
    return pc.run_end_decode(column) if pa.types.is_run_end_encoded(column.type) else column


def _bad(column: pa.Array) -> list[Any]:
    bad = BadCell(f"is of type {column.type}, which is not read")
    return [bad if valid else None for valid in column.is_valid().to_pylist()]


def _values(column: pa.Array) -> list[Any]:
    """Values one by one where they cannot be had together."""
    try:
        return list(column.to_pylist())
    except _ERRORS:
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except _ERRORS:
        return BadCell(f"is of type {scalar.type} and has a value that cannot be read")


def _texts(column: pa.Array) -> list[Any]:
    raw = column.view(_AS_BYTES[column.type])
    raw.validate(full=True)  # offsets are taken on trust: a damaged one would read other memory
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [None if value is None else _text(value) for value in raw.to_pylist()]


def _text(raw: bytes) -> Any:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return BadCell("is not UTF-8")


def _times(column: pa.Array) -> list[Any]:
    """Dates and times as texts, durations as numbers; of a zone that nobody knows the time in UTC."""
    if pa.types.is_duration(column.type):
        return list(column.cast(pa.int64()).to_pylist())
    try:
        texts, zone = column.cast(pa.string()), ""
    except pa.ArrowInvalid:
        if not pa.types.is_timestamp(column.type):
            return _bad(column)
        texts, zone = column.cast(pa.timestamp(column.type.unit)).cast(pa.string()), "Z"
    return [None if text is None else f"{_ZEROS.sub(_digits, text)}{zone}" for text in texts.to_pylist()]


def _digits(found: re.Match[str]) -> str:
    return f".{found[1]}" if found[1] else ""


def _looked_up(column: pa.DictionaryArray) -> list[Any]:
    values = cells_of(column.dictionary)
    outside = BadCell("has no value in the file's dictionary")
    places = column.indices.to_pylist()
    return [
        None if place is None else values[place] if 0 <= place < len(values) else outside for place in places
    ]


def _structs(column: pa.StructArray) -> list[Any]:
    column.validate()
    names = [field.name for field in column.type]
    rows = _rows(names, [cells_of(child) for child in column.flatten()], len(column))
    return [row if valid else None for row, valid in zip(rows, column.is_valid().to_pylist(), strict=True)]


def _lists(column: Any) -> list[Any]:
    column.validate()
    if pa.types.is_fixed_size_list(column.type):
        width = column.type.list_size
        ends = [(column.offset + place) * width for place in range(len(column) + 1)]
    else:
        ends = column.offsets.to_pylist()
    if any(start > end for start, end in pairwise(ends)) or ends[0] < 0 or ends[-1] > len(column.values):
        raise pa.ArrowInvalid("a list of it has damaged offsets")
    items = cells_of(column.values.slice(ends[0], ends[-1] - ends[0]))
    return [
        items[start - ends[0] : end - ends[0]] if valid else None
        for (start, end), valid in zip(pairwise(ends), column.is_valid().to_pylist(), strict=True)
    ]
