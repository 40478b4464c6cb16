"""Reads scalars from TensorBoard's event files while they grow, with the standard library only.

A file is a sequence of records: length (8 bytes), checksum, data, checksum. The data are a protocol buffer,
``Event {2: step, 5: Summary {1: Value {1: tag, 2: simple_value}}}``. Checksums are not compared: a record
that is not whole yet is left for the next look.
"""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HEADER = 12
"""Length and its checksum."""
FOOTER = 4

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
EVENT_STEP, EVENT_SUMMARY, SUMMARY_VALUE, VALUE_TAG, VALUE_NUMBER = 2, 5, 1, 1, 2


class Scalar(NamedTuple):
    """A number that was logged."""

    step: int
    tag: str
    value: float


class EventFile:
    """One growing file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    @property
    def read_bytes(self) -> int:
        """Where the last whole record ended."""
        return self._read

    def new_scalars(self) -> list[Scalar]:
        """Scalars since the last call; none of records that are broken, nor behind one whose length is."""
        with self._path.open("rb") as stream:
            stream.seek(self._read)
            data = stream.read()
        found: list[Scalar] = []
        start = 0
        while len(data) - start >= HEADER:
            (length,) = struct.unpack_from("<Q", data, start)
            end = start + HEADER + length + FOOTER
            if end > len(data):
                break
            with contextlib.suppress(struct.error):  # a record that a crash has spoilt
                found += list(_scalars(data[start + HEADER : end - FOOTER]))
            start = end
        self._read += start
        return found


def _scalars(event: bytes) -> Iterator[Scalar]:
    fields = list(_fields(event))
    step = next((value for key, value in fields if key == EVENT_STEP and isinstance(value, int)), 0)
    for key, summary in fields:
        if key == EVENT_SUMMARY and isinstance(summary, bytes):
            for part, value in _fields(summary):
                if part == SUMMARY_VALUE and isinstance(value, bytes):
                    yield from _scalar(step, value)


def _scalar(step: int, value: bytes) -> Iterator[Scalar]:
    fields = dict(_fields(value))
    tag, number = fields.get(VALUE_TAG), fields.get(VALUE_NUMBER)
    if isinstance(tag, bytes) and isinstance(number, float):
        yield Scalar(step, tag.decode("utf-8", "replace"), number)


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Numbers and values of a message's fields; 32 bits are a float, 64 bits a double."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == VARINT:
            number, place = _varint(data, place)
            yield key >> 3, number
        elif kind == BYTES:
            length, place = _varint(data, place)
            yield key >> 3, data[place : place + length]
            place += length
        elif kind in {FIXED32, FIXED64}:
            form, size = ("<f", 4) if kind == FIXED32 else ("<d", 8)
            yield key >> 3, struct.unpack_from(form, data, place)[0]
            place += size
        else:
            return


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number and the place behind it."""
    number = shift = 0
    while place < len(data):
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a varint
            break
    return number, place
