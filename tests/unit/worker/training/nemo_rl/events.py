"""Writes records of TensorBoard's event files."""

import struct


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def record(step: int, **scalars: float) -> bytes:
    """An event with numbers, whose tags are written with __ for /."""
    values = b"".join(
        field(1, field(1, tag.replace("__", "/").encode()) + varint(2 << 3 | 5) + struct.pack("<f", value))
        for tag, value in scalars.items()
    )
    event = varint(1 << 3 | 1) + struct.pack("<d", 1.0) + varint(2 << 3) + varint(step) + field(5, values)
    return struct.pack("<QI", len(event), 0) + event + struct.pack("<I", 0)
