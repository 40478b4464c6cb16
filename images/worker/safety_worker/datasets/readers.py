"""Readers: files of several formats to records, with every malformed record counted and placed.

A record is a mapping (or a bare string, which becomes ``{"prompt": text}``). Readers stream where the format
allows and never raise for a bad record, only for a file that cannot be read at all. A cell that is none, such
as bytes that are no UTF-8, is a ``BadCell``: it matters only where a field asks for its column.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from safety_worker.datasets.cells import BadCell, kind_of
from safety_worker.datasets.decoding import has_surrogates_in, load_json, load_yaml, merged
from safety_worker.datasets.opening import BINARY, open_content
from safety_worker.datasets.tables import asked_columns, class_names, records_of
from safety_worker.errors import InputError
from safety_worker.text import has_lone_surrogates
from safety_worker.transport.file_kinds import ending_of

NUL = "holds NUL bytes, which are no text"
"""Why a line of text or CSV is malformed; JSON has its own way to write them."""

CARRIAGE_RETURN = "holds carriage returns: save the file with the line ends of Unix or Windows"
"""Why a line of text is malformed that may be many, as old Macs wrote them."""

QUOTES = "has text behind a closing quotation mark: in CSV a quotation mark inside a field is doubled"
"""Why a row of CSV is malformed that other parsers (Spark's) may have written with backslashes."""

FIELD_CHARACTERS = 16 * 1024 * 1024
"""Longest field of CSV."""

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Longer lines are none: the file is no such file, and memory would have to hold it."""


@dataclass(frozen=True)
class RawRecord:
    """One record of a file, or why it is none."""

    index: int
    """Position in the file, from 0, malformed ones counted."""
    line: int | None
    """Line, from 1, where the format has lines."""
    value: dict[str, Any]
    problem: str = ""
    """Why the record is malformed; empty if it is not."""
    filtered: str = ""
    """Why a preset leaves the record out; empty if it does not."""
    fields: dict[str, Any] | None = None
    """All columns as the file has them, where ``value`` has other names; None: those of ``value``."""


_NOT_UTF8 = BadCell("is not UTF-8")

Reader = Callable[..., Iterator[RawRecord]]
"""Takes the stream; those of binary formats also ``asked``."""


def read_file(path: Path, asked: Collection[str] | None = None) -> Iterator[RawRecord]:
    """Records of a file, by its ending and its content.

    Parameters
    ----------
    path
        The file.
    asked
        Columns that are read of a format that keeps them apart; None: all.

    Raises
    ------
    InputError
        If the format is unknown or the file as a whole cannot be read.
    """
    check_format(path.name)
    with damage_of(path.name), path.open("rb") as content:
        ending, stream = open_content(path.name, content)
        if ending in BINARY and not stream.seekable():
            raise ValueError("it is compressed, and its format compresses itself: unpack it")
        yield from READERS[ending](stream, asked) if ending in BINARY else READERS[ending](stream)


def check_format(name: str) -> None:
    """Refuse a file whose ending names no format that is read.

    Raises
    ------
    InputError
        If it does not.
    """
    if ending_of(name) not in READERS:
        raise InputError("UnknownFormat", f"{name}: name the file with one of {', '.join(sorted(READERS))}")


@contextmanager
def damage_of(name: str) -> Iterator[None]:
    """Turn libraries' errors about a file that cannot be read into our error; ``name`` is the file's."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(
            "UnreadableData",
            f"{name} is not {error.encoding.upper()}: {error.reason} at byte {error.start}: save it as UTF-8",
        ) from error
    except OSError as error:
        if error.errno is not None and not isinstance(error, gzip.BadGzipFile):
            raise  # of the disk, not of what is on it
        raise _unreadable(name, error) from error
    except (pa.ArrowException, EOFError, zlib.error, yaml.YAMLError, csv.Error, ValueError) as error:
        raise _unreadable(name, error) from error
    except RecursionError as error:
        raise InputError("UnreadableData", f"{name}: nested too deeply") from error


def _unreadable(name: str, error: Exception) -> InputError:
    """What a library says of a file, on one line and not too long."""
    words = " ".join(str(error).split())[:300] or type(error).__name__
    return InputError("UnreadableData", f"{name}: {words}")


def _record(index: int, line: int | None, value: object) -> RawRecord:
    if isinstance(value, str):
        return RawRecord(index, line, {"prompt": value})
    if isinstance(value, dict):
        return RawRecord(index, line, {str(key): item for key, item in value.items()})
    if isinstance(value, BadCell):
        return RawRecord(index, line, {}, value.reason)
    return RawRecord(index, line, {}, f"expected an object, found {kind_of(value)}")


def lines_of(stream: io.BufferedIOBase) -> Iterator[bytes]:
    """Lines with their ends.

    Raises
    ------
    ValueError
        If one is longer than :data:`MAX_LINE_BYTES`.
    """
    while line := stream.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"it has a line of more than {MAX_LINE_BYTES // 1024**2} MiB")
        yield line


def read_jsonl(stream: Iterable[bytes]) -> Iterator[RawRecord]:
    """JSON lines; blank lines do not count."""
    index = 0
    for number, raw in enumerate(stream, start=1):
        if not raw.strip():
            continue
        try:
            record = _record(index, number, load_json(raw.decode("utf-8-sig" if number == 1 else "utf-8")))
        except UnicodeDecodeError:
            record = _damaged(index, number, raw)
        except RecursionError:
            record = RawRecord(index, number, {}, "JSON nested too deeply")
        except ValueError:
            record = RawRecord(index, number, {}, "not valid JSON")
        yield record
        index += 1


def _damaged(index: int, number: int, raw: bytes) -> RawRecord:
    """The record of a line that is not UTF-8: only cells with such bytes are spoilt."""
    try:
        value = load_json(raw.decode("utf-8-sig", "surrogateescape"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return RawRecord(index, number, {}, "not UTF-8")
    return _record(
        index, number, {key: _NOT_UTF8 if has_surrogates_in(cell) else cell for key, cell in value.items()}
    )


def read_text(stream: Iterable[bytes]) -> Iterator[RawRecord]:
    """One prompt per line; blank lines do not count."""
    index = 0
    for number, raw in enumerate(stream, start=1):
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            yield RawRecord(index, number, {}, "not UTF-8")
            index += 1
            continue
        if not text:
            continue
        if not index and is_json_object(text):
            raise ValueError("it holds JSON lines, not a prompt on each line: name it .jsonl")
        problem = NUL if "\0" in text else CARRIAGE_RETURN if "\r" in text else ""
        yield RawRecord(index, number, {}, problem) if problem else _record(index, number, text)
        index += 1


def read_json_value(stream: io.BufferedIOBase) -> Iterator[RawRecord]:
    """A JSON array, or an object whose only array (or ``data`` or ``rows``) holds the records, or JSON lines.

    Data sets on hubs often call JSON lines ``.json``.
    """
    raw = stream.read()
    try:
        value = load_json(raw.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        if not begins_with_a_line(raw):
            raise _several_values(error) from error
        yield from read_jsonl(io.BytesIO(raw))
        return
    if isinstance(value, dict):
        arrays = {key: item for key, item in value.items() if isinstance(item, list)}
        chosen = next((arrays[key] for key in ("data", "rows") if key in arrays), None)
        value = (
            chosen if chosen is not None else next(iter(arrays.values()), None) if len(arrays) == 1 else None
        )
    if not isinstance(value, list):
        message = "a JSON file must hold an array of records; for one per line use .jsonl"
        raise ValueError(message)  # noqa: TRY004 - the file is wrong, not the program
    for index, item in enumerate(value):
        yield _record(index, None, item)


def _several_values(error: json.JSONDecodeError) -> ValueError:
    """The error, in other words where a whole value stands before the rest, as ``jq`` writes several."""
    if error.msg != "Extra data":
        return error
    return ValueError(
        f"behind the value that ends before line {error.lineno}, column {error.colno} stands something else: "
        "put each record on one line (jq -c .), or all of them into one list"
    )


def begins_with_a_line(raw: bytes) -> bool:
    """Whether the first line is a JSON object of its own, and others follow."""
    first, _, rest = raw.lstrip().partition(b"\n")
    return bool(rest.strip()) and is_json_object(first)


def is_json_object(line: str | bytes) -> bool:
    """Whether a line is a JSON object of its own."""
    try:
        return isinstance(load_json(line if isinstance(line, str) else line.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


def read_csv(stream: io.BufferedIOBase) -> Iterator[RawRecord]:
    """Comma-separated values with a header."""
    csv.field_size_limit(FIELD_CHARACTERS)
    # A byte that is no UTF-8 becomes a lone surrogate, and spoils its cell only.
    text = io.TextIOWrapper(
        cast("io.BufferedReader", stream), encoding="utf-8-sig", errors="surrogateescape", newline=""
    )
    try:
        yield from _csv_records(csv.reader(text, strict=True))
    finally:
        text.detach()  # the caller closes the stream


def _csv_records(rows: Any) -> Iterator[RawRecord]:
    header: list[str] = next(rows, [])
    _check_header(header)
    unique = len(set(header)) == len(header)
    for index, row in enumerate(filter(None, _csv_rows(rows))):
        if isinstance(row, str) or len(row) != len(header):
            count = "more" if len(row) > len(header) else "fewer"
            problem = row if isinstance(row, str) else f"{count} fields than the header"
            yield RawRecord(index, rows.line_num, {}, problem)
            continue
        cells = zip(header, map(_csv_cell, row), strict=True)
        yield _record(index, rows.line_num, dict(cells) if unique else merged(list(cells)))


def _check_header(header: list[str]) -> None:
    """Refuse a first line that names no columns, or with other marks than commas between them."""
    if any(map(has_lone_surrogates, header)):
        raise ValueError("its header is not UTF-8")
    first = header[0] if header else ""
    if first.casefold().startswith("sep="):
        raise ValueError("its first line is Excel's sep=, and has to name the columns: take it out")
    if len(header) == 1 and set(first) & {"\t", ";", "|"}:
        raise ValueError("its columns are not separated by commas: save it with commas")


def _csv_rows(rows: Any) -> Iterator[list[str] | str]:
    """Rows as lists of cells, or why one is none."""
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if "end of data" in str(error):
                raise ValueError("its last quotation mark is never closed, so that rows are lost") from error
            if "expected after" not in str(error):
                raise
            yield QUOTES


def _csv_cell(cell: str) -> str | BadCell:
    if "\0" in cell:
        return BadCell(NUL)
    return _NOT_UTF8 if has_lone_surrogates(cell) else cell


def read_parquet(stream: io.BufferedIOBase, asked: Collection[str] | None = None) -> Iterator[RawRecord]:
    """Parquet, batch by batch, and no row group before it is needed: those behind may be missing."""
    index = 0
    file = pq.ParquetFile(stream)
    names, classes = file.schema_arrow.names, class_names(file.schema_arrow)
    wanted = sorted({names[place] for place in asked_columns(names, asked)})
    for group in range(file.num_row_groups):
        for batch in file.iter_batches(batch_size=4096, row_groups=[group], columns=wanted):
            for row in records_of(batch, names, classes):
                yield _record(index, None, row)
                index += 1


def read_arrow(stream: io.BufferedIOBase, asked: Collection[str] | None = None) -> Iterator[RawRecord]:
    """Arrow IPC, as a file or as a stream (which is what ``datasets`` writes), batch by batch."""
    magic = stream.read(6)
    if magic.startswith(_END_OF_STREAM[:4]):
        _check_end(stream)
    open_ipc = pa.ipc.open_file if magic == b"ARROW1" else pa.ipc.open_stream
    stream.seek(0)
    schema = open_ipc(stream).schema
    options = pa.ipc.IpcReadOptions(included_fields=asked_columns(schema.names, asked))
    stream.seek(0)
    reader = open_ipc(stream, options=options)
    batches = map(reader.get_batch, range(reader.num_record_batches)) if magic == b"ARROW1" else reader
    index = 0
    for batch in batches:
        for row in records_of(batch, schema.names, class_names(schema)):
            yield _record(index, None, row)
            index += 1


_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
"""Last bytes of Arrow as a stream: the mark that begins each message, and that there is none."""


def _check_end(stream: io.BufferedIOBase) -> None:
    """Refuse a stream without its end: what is cut off between two batches would look complete."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - len(_END_OF_STREAM)))
    if stream.read() != _END_OF_STREAM:
        raise ValueError("it has no end mark: it is cut off, copy or write it again")


def read_yaml(stream: io.BufferedIOBase) -> Iterator[RawRecord]:
    """A list of records, or nested mappings whose leaves are prompts: their keys become the categories."""
    value = load_yaml(stream.read())
    if isinstance(value, BadCell):
        raise ValueError(f"it {value.reason}")  # noqa: TRY004 - the file is wrong, not the program
    items = value if isinstance(value, list) else map(_leaf_record, leaves(value))
    for index, item in enumerate(items):
        yield _record(index, None, item)


def _leaf_record(leaf: tuple[tuple[str | int, ...], object]) -> object:
    path, value = leaf
    keys = [key for key in path if isinstance(key, str)]
    return {"prompt": value, "categories": keys} if isinstance(value, str) else value


def leaves(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Values that are neither mapping nor list, each behind its keys and its places in lists."""
    if not isinstance(value, dict | list):
        yield path, value
        return
    items = enumerate(value) if isinstance(value, list) else ((str(key), item) for key, item in value.items())
    for key, item in items:
        yield from leaves(item, (*path, key))


READERS: dict[str, Reader] = {
    ".arrow": read_arrow,
    ".feather": read_arrow,
    ".jsonl": lambda stream: read_jsonl(lines_of(stream)),
    ".ndjson": lambda stream: read_jsonl(lines_of(stream)),
    ".json": read_json_value,
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".yaml": read_yaml,
    ".yml": read_yaml,
    ".txt": lambda stream: read_text(lines_of(stream)),
}
"""Reader by file ending; each also compressed (``.gz``, ``.bz2``, ``.xz``, ``.zst``), but Parquet, which
compresses itself."""
