"""The beginning of a data set that is too large to read whole: its first records, to the byte.

What comes after them is not fetched: JSON lines, text and CSV are read line by line from where they are, also
compressed; Parquet by its footer and as many row groups as it takes. Files of other formats can only be read
whole. The files that are written hold what was read and nothing else (of Parquet: whole row groups and the
footer), so that their digest is the same wherever, and however often, the same beginning is read.
"""

import codecs
import csv
import io
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow.parquet as pq

from safety_worker.datasets.opening import BUFFER_BYTES, ChunkStream, Opened, open_content
from safety_worker.datasets.readers import (
    FIELD_CHARACTERS,
    MAX_LINE_BYTES,
    begins_with_a_line,
    damage_of,
    lines_of,
    read_file,
    read_jsonl,
    read_text,
)
from safety_worker.errors import InputError
from safety_worker.transport.download import ReadFrom, steadily
from safety_worker.transport.file_kinds import HEAD_BYTES, check_head, ending_of
from safety_worker.transport.meter import Meter
from safety_worker.transport.places import (
    GIB,
    FolderPlace,
    Place,
    RemoteFile,
    bytes_in,
    check_digest,
    check_space,
)

MAX_WHOLE_BYTES = 16 * GIB
"""What a pod reads whole: rows of so many bytes need about as much memory as a large pod has."""

SMALL_BYTES = GIB
"""What fits on the scratch volume of any pod; if it does not, another node may have more room."""

ROOM_BYTES = 64 * 1024 * 1024
"""Room that is left on the scratch volume, and bytes between two looks at it."""

TAIL_BYTES = 64 * 1024
"""Bytes at the end of a Parquet file that are asked for first: most footers are smaller."""

MAGIC = b"PAR1"
"""First and last bytes of a Parquet file."""


class Taken(NamedTuple):
    """What was taken of a file."""

    path: Path
    records: int
    more: bool
    """There are more."""


def check_size(uri: str, num_bytes: int, folder: Path, advice: str) -> None:
    """Refuse to begin with what would fill the disk, where the rows will be as well, or the memory.

    Raises
    ------
    InputError
        If ``num_bytes`` are too many, with the advice.
    """
    room = shutil.disk_usage(folder).free + bytes_in(folder)
    if num_bytes > min(MAX_WHOLE_BYTES, max(room // 2, SMALL_BYTES)):
        raise InputError(
            "SourceTooLarge",
            f"{uri} has {num_bytes / GIB:.1f} GiB; a pod reads {MAX_WHOLE_BYTES // GIB} GiB at most, and no "
            f"more than half of its scratch volume ({room / GIB:.1f} GiB) holds: {advice}",
        )


def take_records(
    uri: str, place: Place, files: Sequence[RemoteFile], folder: Path, max_records: int
) -> list[Taken]:
    """Take the first records of files, one file after the other; files behind them are left alone.

    Parameters
    ----------
    uri
        For messages.
    place, files
        Where they are, in their order.
    folder
        What is taken is written here; what is there is overwritten.
    max_records
        Malformed records count, blank lines do not.

    Raises
    ------
    InputError
        If a file cannot be read, or only whole and is too large for that.
    InfrastructureError
        If a connection keeps breaking, or content arrives damaged or changes meanwhile.
    """
    found: list[Taken] = []
    left = max_records
    for file in files:
        if not left:
            found[-1] = found[-1]._replace(more=True)
            break
        own = folder / str(len(found))  # names may differ in what is taken off them
        found.append(_take(uri, place, file, own, left))
        left -= found[-1].records
    return found


def _take(uri: str, place: Place, file: RemoteFile, folder: Path, records: int) -> Taken:
    target = folder / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    kind = ending_of(file.name)
    with damage_of(target.name):
        if kind == ".parquet" and file.ranged:
            with place.reading(file) as read_from:
                return _take_row_groups(uri, read_from, file, target, records)
        taken = _take_text(uri, place, file, target, records) if kind in {".json", *BY_LINE} else None
    return taken or _take_whole(uri, place, file, folder, records)


def _take_text(uri: str, place: Place, file: RemoteFile, target: Path, records: int) -> Taken | None:
    """Take lines; None where the content has none that count, whatever the file is called."""
    with _content(uri, place, file) as content:
        kind = content.ending
        if kind in BY_LINE:
            return _take_lines(uri, content, file, _called(target, kind), records)
        if kind != ".json" or not _has_json_lines(content):
            return None
    with _content(uri, place, file) as content:
        return _take_lines(uri, content, file, _called(target, ".jsonl"), records)


def _called(target: Path, ending: str) -> Path:
    """The path with the ending of what is written there, behind that of the file where it has another."""
    return target if target.suffix.lower() == ending else target.with_name(f"{target.name}{ending}")


@contextmanager
def _content(uri: str, place: Place, file: RemoteFile) -> Iterator[Opened]:
    """A file as what it is; only what is read of it is asked for."""
    with ExitStack() as stack:
        read_from = stack.enter_context(place.reading(file))
        chunks = stack.enter_context(closing(steadily(uri, read_from, file.size or None)))
        stream = stack.enter_context(io.BufferedReader(ChunkStream(chunks), BUFFER_BYTES))
        yield open_content(Path(file.name).name, stream)


def _has_json_lines(content: Opened) -> bool:
    """Whether a file that is called JSON holds JSON lines, by the first of them."""
    head = content.stream.read(1024).removeprefix(codecs.BOM_UTF8).lstrip()
    while head.startswith(b"{") and not head.partition(b"\n")[2].strip() and len(head) < MAX_LINE_BYTES:
        more = content.stream.read1(BUFFER_BYTES)
        if not more:
            break
        head += more
    return head.startswith(b"{") and begins_with_a_line(head)


def _take_whole(uri: str, place: Place, file: RemoteFile, folder: Path, records: int) -> Taken:
    """Fetch a file whose format has no beginning that can be read."""
    advice = f"{Path(file.name).name} can only be read whole; convert it to JSON lines or Parquet"
    check_size(uri, file.size, folder, advice)
    if isinstance(place, FolderPlace):
        path = place.folder / file.name
    else:
        path = folder / file.name
        place.get([file], folder, Meter())
        check_digest(uri, path, file.sha256)
    found = sum(1 for _ in islice(read_file(path, ()), records + 1))
    return Taken(path, min(found, records), found > records)


def _take_lines(uri: str, content: Opened, file: RemoteFile, target: Path, records: int) -> Taken:
    """Copy the lines of the first records; a file that has no more than those, to its last byte."""
    with target.open("wb") as out:
        lines: Iterable[bytes] = lines_of(content.stream)
        if target.suffix == ".csv":  # where \r ends a line as well
            lines = (part for line in lines for part in line.splitlines(keepends=True))
        rows = BY_LINE[target.suffix](_copied(uri, lines, out, target.parent))
        taken = sum(1 for _ in islice(rows, records))
        end = out.tell()
        more = next(rows, None) is not None
        if more:
            out.truncate(end)
    if not more and target.stat().st_size == file.size:  # neither unpacked nor in another encoding
        check_digest(uri, target, file.sha256)
    return Taken(target, taken, more)


def _copied(uri: str, lines: Iterable[bytes], out: IO[bytes], folder: Path) -> Iterator[bytes]:
    """The same lines, each written before it is given."""
    look = 0
    for line in lines:
        if out.tell() >= look:
            look = out.tell() + ROOM_BYTES
            _check_room(uri, out.tell(), folder)
        out.write(line)
        yield line


def _check_room(uri: str, written: int, folder: Path) -> None:
    if written < SMALL_BYTES:
        check_space(uri, folder, 2 * ROOM_BYTES)
    elif shutil.disk_usage(folder).free < 2 * ROOM_BYTES:
        raise InputError(
            "SourceTooLarge",
            f"{uri}: the pod's scratch volume is full after {written / GIB:.1f} GiB of it: lower maxRecords",
        )


def _take_row_groups(uri: str, read_from: ReadFrom, file: RemoteFile, target: Path, records: int) -> Taken:
    """Copy the first row groups and, right behind them, the footer: a file whose other groups are not there.

    Readers look for the footer at the end, and for a row group where the footer says it begins.
    """
    footer = _read_exactly(uri, read_from, file, max(0, file.size - TAIL_BYTES), file.size)
    length = int.from_bytes(footer[-8:-4], "little") + 8
    if footer[-4:] != MAGIC or length + len(MAGIC) > file.size:
        head = _read_exactly(uri, read_from, file, 0, min(HEAD_BYTES, file.size))
        check_head(target.name, head, whole=len(head) == file.size)
        raise ValueError("it has no footer of Parquet at its end: it is cut off or no Parquet, copy it again")
    begin = file.size - length
    check_size(uri, length, target.parent, "its footer alone is larger")
    if length > len(footer):
        footer = _read_exactly(uri, read_from, file, begin, file.size)
    metadata = pq.read_metadata(io.BytesIO(footer[-length:]))
    groups = rows = end = 0
    while groups < metadata.num_row_groups and rows < records:
        group = metadata.row_group(groups)
        rows += group.num_rows
        end = max([end, *(_end(group.column(number)) for number in range(group.num_columns))])
        groups += 1
    if groups == metadata.num_row_groups:
        end = begin
    if end > begin:
        raise ValueError("its footer names bytes behind the end")
    advice = f"so much of {Path(file.name).name} is needed: lower maxRecords, or write smaller row groups"
    check_size(uri, end, target.parent, advice)
    with target.open("wb") as out, closing(steadily(uri, read_from, file.size)) as chunks:
        for chunk in _first(chunks, end):
            out.write(chunk)
        out.write(footer[-length:])
    if groups == metadata.num_row_groups:
        check_digest(uri, target, file.sha256)
    return Taken(target, min(rows, records), metadata.num_rows > records)


def _end(column: object) -> int:
    """Where the pages of a column of a row group end."""
    starts = [column.data_page_offset, column.dictionary_page_offset or 0]  # type: ignore[attr-defined]
    return min(filter(None, starts)) + column.total_compressed_size  # type: ignore[attr-defined,no-any-return]


def _read_exactly(uri: str, read_from: ReadFrom, file: RemoteFile, start: int, end: int) -> bytes:
    with closing(steadily(uri, read_from, file.size, start)) as chunks:
        return b"".join(_first(chunks, end - start))


def _first(chunks: Iterable[bytes], num_bytes: int) -> Iterator[bytes]:
    """The first bytes of a stream; nothing is asked for beyond them."""
    left = num_bytes
    if not left:
        return
    for chunk in chunks:
        yield chunk[:left]
        left -= len(chunk[:left])
        if not left:
            return


def _csv_lines(lines: Iterable[bytes]) -> Iterator[str]:
    """Lines as the parser of CSV splits records; their other characters are none of its business."""
    mark = codecs.BOM_UTF8
    for line in lines:
        yield line.removeprefix(mark).decode("latin-1")
        mark = b""


def _read_csv(lines: Iterable[bytes]) -> Iterator[object]:
    csv.field_size_limit(FIELD_CHARACTERS)
    return csv.DictReader(_csv_lines(lines))


BY_LINE: dict[str, Callable[[Iterable[bytes]], Iterator[object]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".txt": read_text,
    ".csv": _read_csv,
}
"""What tells records apart, by file ending. Each takes no line more than a record needs."""
