"""Whether a GGUF file is whole: its header says where each tensor is; the numbers themselves are not read.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import re
import struct
from math import prod
from pathlib import Path
from typing import BinaryIO

from safety_worker.errors import InputError
from safety_worker.models.weights import GGUF, check_beginning

VERSIONS = (2, 3)
ALIGNMENT = 32
"""Bytes to whose multiples tensors are aligned, unless the header says another number."""

MAX_ITEMS = 100_000_000
"""More values in a list, or longer texts, are a damaged header."""

_PART = re.compile(r"-\d{5}-of-(?P<total>\d{5})\.gguf$")
_STRING, _ARRAY = 8, 9
_NUMBERS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value by its type."""

_WHOLE = {0: 4, 1: 2, 24: 1, 25: 2, 26: 4, 27: 8, 28: 8, 30: 2}
_OF_32 = {2: 18, 3: 20, 6: 22, 7: 24, 8: 34, 20: 18}
_OF_256 = {10: 84, 11: 110, 12: 144, 13: 176, 14: 210, 15: 292, 16: 66, 17: 74, 18: 98, 19: 50} | {
    21: 110,
    22: 82,
    23: 136,
    29: 56,
}
_BLOCKS = {
    kind: (numbers, size)
    for numbers, sizes in ((1, _WHOLE), (32, _OF_32), (256, _OF_256))
    for kind, size in sizes.items()
}
"""By tensor type: numbers of a block, and its bytes. Of other types only the beginning is looked for."""


def check_gguf(path: Path) -> None:
    """Compare a file's size with what its header says.

    Raises
    ------
    InputError
        If it is no GGUF file, or cut off.
    """
    part = _PART.search(path.name)
    if part is not None and int(part["total"]) > 1:
        raise InputError(
            "SplitModel",
            f"{path.name} is one of {int(part['total'])} parts, and the others would be missing: join them "
            "with llama-gguf-split --merge",
        )
    size = path.stat().st_size
    check_beginning(path.name, path)
    with path.open("rb") as stream:
        if stream.read(len(GGUF)) != GGUF:
            message = f"{path.name} is no GGUF file: copy or download it again"
            raise InputError("UnreadableModel", message)
        try:
            expected = _expected_size(stream)
        except (struct.error, ValueError, ArithmeticError, RecursionError) as error:
            raise _cut_off(path, size) from error
    if size < expected:
        raise _cut_off(path, size, f" of {expected}")


def _cut_off(path: Path, size: int, of: str = "") -> InputError:
    return InputError(
        "CutOff", f"{path.name} is cut off or damaged: {size} bytes{of}: copy or download it again"
    )


def _expected_size(stream: BinaryIO) -> int:
    """Bytes that the file has at least.

    Raises
    ------
    ValueError
        If it has another version.
    struct.error
        If the header itself is cut off.
    """
    (version,) = _unpack(stream, "I")
    if version not in VERSIONS:
        raise ValueError(version)
    num_tensors, num_values = _unpack(stream, "QQ")
    alignment = ALIGNMENT
    for _ in range(num_values):
        key, (kind,) = _string(stream), _unpack(stream, "I")
        if key == b"general.alignment":
            (alignment,) = _unpack(stream, "I")
        else:
            _skip(stream, kind)
    ends = [_tensor_end(stream) for _ in range(num_tensors)]
    begin = -(-stream.tell() // alignment) * alignment
    return begin + max(ends, default=0)


def _tensor_end(stream: BinaryIO) -> int:
    """Where a tensor ends, from the first byte of all tensors on."""
    _string(stream)
    (num_dims,) = _unpack(stream, "I")
    shape = _unpack(stream, f"{min(num_dims, 8)}Q")
    kind, offset = _unpack(stream, "IQ")
    numbers, num_bytes = _BLOCKS.get(kind, (1, 0))
    return int(offset) + prod(shape) // numbers * num_bytes


def _skip(stream: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        _string(stream)
    elif kind == _ARRAY:
        item, length = _unpack(stream, "IQ")
        if item in _NUMBERS:
            stream.seek(_NUMBERS[item] * _bounded(length), 1)
        else:
            for _ in range(_bounded(length)):
                _skip(stream, item)
    else:
        stream.seek(_NUMBERS[kind] if kind in _NUMBERS else _bounded(-1), 1)


def _string(stream: BinaryIO) -> bytes:
    (length,) = _unpack(stream, "Q")
    found = stream.read(_bounded(length))
    if len(found) < length:
        raise ValueError(length)
    return found


def _bounded(number: int) -> int:
    if not 0 <= number <= MAX_ITEMS:
        raise ValueError(number)
    return number


def _unpack(stream: BinaryIO, form: str) -> tuple[int, ...]:
    form = f"<{form}"
    return struct.unpack(form, stream.read(struct.calcsize(form)))
