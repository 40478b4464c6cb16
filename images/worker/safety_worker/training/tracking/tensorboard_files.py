"""TensorBoard's event files on the artifact volume, written with the standard library.

The counterpart of ``training/event_file.py``; the format is explained there. One file holds the whole
training: a start continues it behind its last whole record.
"""

import struct
import time
from pathlib import Path

from safety_worker.training.event_file import (
    BYTES,
    EVENT_STEP,
    EVENT_SUMMARY,
    FIXED32,
    FIXED64,
    SUMMARY_VALUE,
    VALUE_NUMBER,
    VALUE_TAG,
    VARINT,
    EventFile,
)
from safety_worker.training.tracking.steps import Step
from safety_worker.training.tracking.tracker import Ending, RunDescription, TrackerError

FILE_NAME = "events.out.tfevents.training"
EVENT_TIME, EVENT_VERSION = 1, 3
VERSION = b"brain.Event:2"
"""What the first record of a file says."""


class TensorBoardFiles:
    """One run as one file; see :class:`TrackerClient`."""

    def __init__(self, about: RunDescription) -> None:
        self.run = self.url = ""
        self._about = about
        self._path = Path(about.folder) / FILE_NAME
        self._latest: dict[str, int] = {}

    def connect(self) -> None:
        """Cut off what a kill left half-written, and learn the latest step of each number."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab"):
                pass
            file = EventFile(self._path)
            for scalar in file.new_scalars():
                self._latest[scalar.tag] = max(scalar.step, self._latest.get(scalar.tag, -1))
            with self._path.open("r+b") as stream:
                stream.truncate(file.read_bytes)
                if not file.read_bytes:
                    stream.write(record(_field(EVENT_TIME, time.time()) + _field(EVENT_VERSION, VERSION)))
        except OSError as error:
            raise _unwritable(error) from error
        self.run, self.url = self._about.run, self._about.shown_folder

    def send(self, steps: list[Step]) -> None:
        """A record of each step, without the numbers that the file has."""
        now = time.time()
        records = []
        for step in steps:
            new = {name: v for name, v in step.values.items() if step.number > self._latest.get(name, -1)}
            if new:
                records.append(record(event(step.number, new, now)))
        try:
            with self._path.open("ab") as stream:
                stream.write(b"".join(records))
        except OSError as error:
            raise _unwritable(error) from error

    def finish(self, ending: Ending) -> None:
        """Nothing: a file does not say how a training ended."""


def _unwritable(error: OSError) -> TrackerError:
    return TrackerError(f"the event file cannot be written ({error.strerror}): look at the artifacts claim")


def event(step: int, values: dict[str, float], seconds: float) -> bytes:
    """The protocol buffer of a step's numbers."""
    summary = b"".join(
        _field(SUMMARY_VALUE, _field(VALUE_TAG, name.encode()) + _single(VALUE_NUMBER, value))
        for name, value in values.items()
    )
    return (
        _field(EVENT_TIME, seconds)
        + _varint(EVENT_STEP << 3 | VARINT)
        + _varint(step)
        + _field(EVENT_SUMMARY, summary)
    )


def record(data: bytes) -> bytes:
    """A record of an event file, with its checksums."""
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _field(key: int, value: bytes | float) -> bytes:
    """A field of bytes, or of a double."""
    if isinstance(value, float):
        return _varint(key << 3 | FIXED64) + struct.pack("<d", value)
    return _varint(key << 3 | BYTES) + _varint(len(value)) + value


def _single(key: int, value: float) -> bytes:
    return _varint(key << 3 | FIXED32) + struct.pack("<f", value)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _table() -> tuple[int, ...]:
    found = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        found.append(value)
    return tuple(found)


_CRC32C = _table()


def _checksum(data: bytes) -> bytes:
    """CRC-32C, masked as TFRecord files have it."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC32C[(value ^ byte) & 0xFF]
    value ^= 0xFFFFFFFF
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)
