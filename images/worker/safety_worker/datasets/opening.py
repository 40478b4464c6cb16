"""Open a data file as what it is: without its compression, as UTF-8, in the format that its content shows.

Every reader goes through here, whether the file is on a disk or still comes over a connection.
"""

import bz2
import codecs
import gzip
import io
import lzma
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import IO, NamedTuple, cast

import pyarrow as pa

from safety_worker.errors import InputError
from safety_worker.transport.file_kinds import (
    HEAD_BYTES,
    PACKED,
    check_head,
    encoding_of,
    ending_of,
    format_met,
    looks_binary,
    packing_of,
)
from safety_worker.transport.places import GIB

BUFFER_BYTES = 256 * 1024
"""Bytes that are read ahead of a line."""

MAX_UNPACKED_BYTES = 16 * GIB
"""What a compressed file may hold: as much as a pod reads whole."""

BINARY = {".parquet": (b"PAR1", "Parquet"), ".arrow": (b"ARROW1", "Arrow"), ".feather": (b"ARROW1", "Arrow")}
"""Formats that are no text: first bytes and name, by ending."""

_LIST = re.compile(rb"(\xef\xbb\xbf)?\s*\[\s*\{")
"""How a list of records begins, which some call JSON lines."""

_STREAM_MARK = b"\xff\xff\xff\xff"
"""First bytes of Arrow as a stream, the other form of ``.arrow``; the length of its schema follows."""

MAX_SCHEMA_BYTES = 16 * 1024 * 1024
"""Longer schemas are none."""


class Opened(NamedTuple):
    """A data file that can be read."""

    ending: str
    """Of the format that it has, such as ``.jsonl``."""
    stream: io.BufferedIOBase
    """UTF-8 for formats of text. Only binary formats can be sought in."""


def open_content(name: str, stream: io.BufferedIOBase) -> Opened:
    """Look at a file's beginning and open what it is.

    Parameters
    ----------
    name
        The file's name, whose ending decides among formats of text.
    stream
        Its bytes. Where it cannot be sought in, it is read once.

    Raises
    ------
    InputError
        If something else came in its place, or it has a format or a compression that is not read.
    """
    seekable = stream.seekable()
    head = _read_head(stream)
    found = packing_of(head)
    if found:
        stream = UNPACK[found](_again(head, stream, seekable=seekable))
        seekable = seekable and found != "zstd"
        head = _read_head(stream)
    check_head(name, head, whole=len(head) < HEAD_BYTES)
    last = f".{name.rpartition('.')[2].lower()}"
    if last in PACKED and not found:
        raise InputError("UnreadableData", f"{name}: it is not compressed, take {last} off its name")
    ending = _format_of(name, head)
    if ending == ".parquet" and seekable:
        _check_footer(name, stream)
    stream = _again(head, stream, seekable=seekable)
    if ending in BINARY:
        return Opened(ending, stream)
    pieces = _bounded(name, _pieces(stream)) if found else _pieces(stream)
    encoding = encoding_of(head)
    if encoding == "utf-8" and looks_binary(head):
        raise InputError("UnreadableData", f"{name} is no text: give the file that its name promises")
    if encoding == "utf-8":
        return Opened(ending, _buffered(pieces) if found else stream)
    return Opened(ending, _buffered(_recoded(encoding, pieces)))


def _check_footer(name: str, stream: io.BufferedIOBase) -> None:
    mark, _ = BINARY[".parquet"]
    stream.seek(-len(mark), io.SEEK_END)
    if stream.read() != mark:
        raise InputError(
            "CutOff", f"{name} has no footer of Parquet at its end: it is cut off, copy it again"
        )


def _format_of(name: str, head: bytes) -> str:
    """The ending of the format that a file has."""
    ending = ending_of(name)
    if packing_of(head):
        raise InputError("UnreadableData", f"{name} is compressed more than once: unpack it")
    what = format_met(head)
    if what:
        raise InputError("UnreadableData", f"{name} is {what}, which is not read: unpack or convert it")
    for other, (mark, _) in BINARY.items():
        if head.startswith(mark):
            return ending if ending == other else other
    if head.startswith(_STREAM_MARK) and 0 < int.from_bytes(head[4:8], "little") <= MAX_SCHEMA_BYTES:
        return ".arrow"
    if ending in {*BINARY, ".json", ".yaml", ".yml"} and not head:
        raise InputError("EmptyFile", f"{name} is empty (0 bytes): copy it again")
    if ending == ".parquet":
        raise InputError("UnreadableData", f"{name} does not begin as Parquet does: copy or write it again")
    text = head.decode(encoding_of(head), "ignore").encode() if ending in {".jsonl", ".ndjson"} else b""
    return ".json" if _LIST.match(text) else ending


def _read_head(stream: io.BufferedIOBase) -> bytes:
    head = b""
    while len(head) < HEAD_BYTES and (piece := stream.read(HEAD_BYTES - len(head))):
        head += piece
    return head


def _again(head: bytes, stream: io.BufferedIOBase, *, seekable: bool) -> io.BufferedIOBase:
    """The stream with its beginning, which was read already."""
    if seekable:
        stream.seek(0)
        return stream
    return _buffered(chain([head], _pieces(stream)))


def _buffered(pieces: Iterator[bytes]) -> io.BufferedIOBase:
    return io.BufferedReader(ChunkStream(pieces), BUFFER_BYTES)


def _pieces(stream: io.BufferedIOBase) -> Iterator[bytes]:
    while piece := stream.read1(BUFFER_BYTES):
        yield piece


def _bounded(name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    left = MAX_UNPACKED_BYTES
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise InputError(
                "SourceTooLarge",
                f"{name} holds more than {MAX_UNPACKED_BYTES // GIB} GiB when it is unpacked: give a "
                "smaller part",
            )
        yield piece


def _recoded(encoding: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """UTF-8 from another encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    for piece in pieces:
        yield decoder.decode(piece).encode()
    yield decoder.decode(b"", final=True).encode()


def _zstd(stream: io.BufferedIOBase) -> io.BufferedIOBase:
    unpacked: io.BufferedIOBase = pa.CompressedInputStream(stream, "zstd")
    return unpacked


UNPACK: dict[str, Callable[[io.BufferedIOBase], io.BufferedIOBase]] = {
    "gzip": lambda stream: gzip.GzipFile(fileobj=stream),
    "bzip2": bz2.BZ2File,
    "xz": lambda stream: lzma.LZMAFile(cast("IO[bytes]", stream)),  # noqa: SIM115 - the caller closes the stream
    "zstd": _zstd,
}
"""Readers of compressions. Each refuses content that is cut off."""


class ChunkStream(io.RawIOBase):
    """Chunks as a stream that can be read once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = memoryview(b"")

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as the next chunk goes."""
        while not self._held:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._held = memoryview(chunk)
        size = min(len(buffer), len(self._held))
        buffer[:size] = self._held[:size]
        self._held = self._held[size:]
        return size
