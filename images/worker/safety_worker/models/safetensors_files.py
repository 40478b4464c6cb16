"""Safetensors files tensor by tensor, as bytes: headers are read, files written with little memory.

The format: 8 bytes with the header's length, the header as JSON, and the numbers without gaps
(https://github.com/huggingface/safetensors#format). Files are checked by ``weights`` before.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from safety_worker.models.weights import BITS, LENGTH_BYTES

PIECE_BYTES = 16 * 1024 * 1024
"""Bytes that are copied at a time."""

DERIVED = "rotary_emb.inv_freq"
"""End of the names of buffers that old models keep and newer code computes."""

ALIGNMENT = 8
"""Bytes that a header's length is a multiple of, so that numbers can be mapped."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file."""

    dtype: str
    """As the format names it, such as BF16."""
    shape: tuple[int, ...]
    begin: int
    """First byte in its file."""
    num_bytes: int

    @property
    def num_numbers(self) -> int:
        """Product of the shape."""
        return prod(self.shape)

    def of_shape(self, shape: tuple[int, ...]) -> "Tensor":
        """The same type in another shape."""
        return replace(self, shape=shape, num_bytes=prod(shape) * BITS[self.dtype] // 8)

    def read(self, path: Path) -> Iterator[memoryview]:
        """Its bytes, in pieces."""
        with path.open("rb") as file:
            file.seek(self.begin)
            for start in range(0, self.num_bytes, PIECE_BYTES):
                yield memoryview(file.read(min(PIECE_BYTES, self.num_bytes - start)))


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names, in the order of their bytes."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    behind = LENGTH_BYTES + length
    found = {name: _tensor(value, behind) for name, value in header.items()}
    return dict(sorted(found.items(), key=lambda item: item[1].begin))


def _tensor(value: Mapping[str, list[int]], behind: int) -> Tensor:
    begin, end = value["data_offsets"]
    return Tensor(str(value["dtype"]), tuple(value["shape"]), behind + begin, end - begin)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], contents: Iterable[Iterable[memoryview]]
) -> None:
    """Write a file of tensors, whose contents come in the same order, in pieces.

    Raises
    ------
    ValueError
        If a content has another length than its tensor.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, tensor in tensors.items():
        end = begin + tensor.num_bytes
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, end]}
        begin = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-(LENGTH_BYTES + len(raw)) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(LENGTH_BYTES, "little") + raw)
        for (name, tensor), content in zip(tensors.items(), contents, strict=True):
            if sum(file.write(piece) for piece in content) != tensor.num_bytes:
                raise ValueError(name)
