"""Reads Automodel's sharded safetensors: each file holds one process' parts of tensors.

A file's ``DCP_SHARDING_INFO`` says for each part where in its tensor it begins. Parts are put together one
tensor at a time, so that a model of any size takes the memory of its largest tensor. The format is that of
Automodel 24b47e8 (``components/checkpoint/_backports``) and of torch's own Hugging Face storage writer.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open

from safety_worker.errors import InfrastructureError

TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Data types of weights that can be trained, by the format's names."""

SHARDING_INFO = "DCP_SHARDING_INFO"
OFFSETS = "saved_offsets"


class _Part(NamedTuple):
    """A part of a tensor."""

    path: Path
    offsets: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def ends(self) -> tuple[int, ...]:
        return tuple(start + size for start, size in zip(self.offsets, self.shape, strict=True))


class ShardedTensors:
    """Tensors of a folder of shards, by name.

    Raises
    ------
    InfrastructureError
        If parts of a tensor are missing, or overlap.
    """

    def __init__(self, folder: Path) -> None:
        self._parts: dict[str, list[_Part]] = {}
        for path in sorted(folder.glob("*.safetensors")):
            for name, part in _parts_of(path):
                known = self._parts.setdefault(name, [])
                if not any(part[1:] == other[1:] for other in known):  # the same in several files: replicated
                    known.append(part)
        for name, parts in self._parts.items():
            _check(name, parts, self.shape(name))

    def names(self) -> frozenset[str]:
        """All tensors."""
        return frozenset(self._parts)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the whole tensor."""
        ends = [part.ends for part in self._parts[name]]
        return tuple(max(sizes) for sizes in zip(*ends, strict=True))

    def get(self, name: str) -> torch.Tensor:
        """The whole tensor, in the data type in which it was saved."""
        parts = self._parts[name]
        if len(parts) == 1:
            return _load(parts[0].path, name)
        whole: torch.Tensor | None = None
        for part in parts:
            data = _load(part.path, name)
            if whole is None:
                whole = torch.empty(self.shape(name), dtype=data.dtype)
            place = tuple(slice(a, b) for a, b in zip(part.offsets, part.ends, strict=True))
            whole[place] = data
        assert whole is not None
        return whole


def _parts_of(path: Path) -> Iterator[tuple[str, _Part]]:
    """Parts that a file holds; parts without elements are left out, as those of processes without a share."""
    with safe_open(path, framework="pt") as file:
        info: dict[str, Any] = json.loads((file.metadata() or {}).get(SHARDING_INFO, "{}"))
        for name in file.keys():  # noqa: SIM118 - the library's object is no mapping
            shape = tuple(file.get_slice(name).get_shape())
            offsets = tuple(info[name][OFFSETS]) if name in info else (0,) * len(shape)
            if math.prod(shape):
                yield name, _Part(path, offsets, shape)


def _check(name: str, parts: list[_Part], shape: tuple[int, ...]) -> None:
    """Parts that do not overlap and hold as many elements as the whole cover it."""
    overlap = any(_overlap(one, other) for number, one in enumerate(parts) for other in parts[:number])
    if overlap or sum(math.prod(part.shape) for part in parts) != math.prod(shape):
        raise InfrastructureError(
            "DamagedCheckpoint",
            f"the parts of {name} do not make a whole: its checkpoint is damaged",
        )


def _overlap(one: _Part, other: _Part) -> bool:
    """Whether two parts share elements: in every dimension each begins before the other ends."""
    edges = zip(one.offsets, one.ends, other.offsets, other.ends, strict=True)
    return all(start < last and first < end for start, end, first, last in edges)


def _load(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
        return tensor
