"""Whether files of a model hold what their names say: headers and sizes are read, never the weights.

Called by the fetch stage before a model gets a digest: a server that cannot load its weights would only say
so once it has been given an accelerator.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from safety_worker.errors import InputError
from safety_worker.models.onnx_graph import check_graph
from safety_worker.transport.file_kinds import HEAD_BYTES, check_head, format_met, packing_of

INDEX = "model.safetensors.index.json"
"""Says which tensor is in which file."""

GGUF = b"GGUF"
"""First bytes of a GGUF file."""

LENGTH_BYTES = 8
"""Bytes that hold the length of a safetensors header."""

MAX_HEADER_BYTES = 100_000_000
"""Longer headers are none: the limit of the format's own readers."""

BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
"""Bits of a number by its type; tensors of other types are left to the size of their file."""

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.safetensors")
_AGAIN = "copy or download it again"


def check_files(uri: str, folder: Path, names: Collection[str]) -> None:
    """Look at the beginning of each file of a model, and at the headers of its weights.

    Raises
    ------
    InputError
        Naming the first file that is not what its name says, and what to do.
    """
    tensors: dict[str, frozenset[str]] = {}
    for name in names:
        where, path = f"{name} of {uri}", folder / name
        check_beginning(where, path)
        if name.endswith(".safetensors"):
            tensors[name] = read_tensors(where, path)
        elif name.endswith(".onnx"):
            check_graph(where, path)
        elif name.endswith(".json"):
            read_json(where, path)
    check_shards(uri, folder, names)
    for name, listed in _by_file(uri, folder).items() if INDEX in names else ():
        lost = sorted(listed - tensors.get(name, frozenset()))
        if lost:
            raise InputError(
                "ShardMissing",
                f"{name} of {uri} lacks {len(lost)} of the tensors that {INDEX} says it holds: they do not "
                "belong together, download both again",
            )


def check_shards(uri: str, folder: Path, names: Collection[str]) -> None:
    """Make sure that all files with weights are there, by the index and by their numbers.

    Parameters
    ----------
    uri
        For messages.
    folder
        Where the index is, if there is one.
    names
        The files that there are, or will be.

    Raises
    ------
    InputError
        Naming what is missing, or that there are two sets of weights.
    """
    listed = set(_by_file(uri, folder)) if INDEX in names else set()
    missing = sorted({*listed, *_numbered(names)} - set(names))
    if missing:
        raise InputError(
            "ShardMissing",
            f"{uri}: {missing[0]} is not there{f', nor are {len(missing) - 1} more' if missing[1:] else ''}: "
            "the weights are not whole, copy or upload the rest",
        )
    if listed and "model.safetensors" in names and "model.safetensors" not in listed:
        raise InputError(
            "TwoSetsOfWeights",
            f"{uri} has model.safetensors and the files that {INDEX} lists: servers and trainers would "
            "choose differently, remove one of the two",
        )


def _numbered(names: Iterable[str]) -> Iterator[str]:
    """All names of a row of numbered shards, from any of them."""
    for name in names:
        found = _SHARD.fullmatch(name)
        for number in range(1, int(found["total"]) + 1) if found else ():
            yield f"{found['stem']}-{number:05d}-of-{found['total']}.safetensors" if found else ""


def _by_file(uri: str, folder: Path) -> dict[str, frozenset[str]]:
    """Tensors by the file that the index puts them in."""
    where = f"{INDEX} of {uri}"
    check_beginning(where, folder / INDEX)
    found = read_json(where, folder / INDEX)
    weights = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(weights, dict) or not weights or not all(isinstance(v, str) for v in weights.values()):
        raise InputError("UnreadableModel", f"{where} has no weight_map from tensors to files: {_AGAIN}")
    files: dict[str, set[str]] = {}
    for tensor, file in weights.items():
        files.setdefault(file, set()).add(tensor)
    return {file: frozenset(tensors) for file, tensors in files.items()}


def check_beginning(where: str, path: Path) -> None:
    """Refuse a file that is empty, or something else in its place; a GGUF file only where none is meant."""
    size = path.stat().st_size
    if not size:
        raise InputError("EmptyFile", f"{where} is empty (0 bytes): {_AGAIN}")
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    check_head(where, head, whole=size == len(head))
    what = f"compressed with {packing_of(head)}" if packing_of(head) else format_met(head)
    if what and not (path.suffix == ".gguf" and head.startswith(GGUF)):
        raise InputError("UnreadableModel", f"{where} is {what}: unpack or convert it")


def read_json(where: str, path: Path) -> Any:
    """The value of a JSON file, as strict as libraries read those of models: UTF-8 without a mark.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        message = f"{where} is no valid JSON in UTF-8, it may be cut off: {_AGAIN}"
        raise InputError("UnreadableModel", message) from error


def read_tensors(where: str, path: Path) -> frozenset[str]:
    """Names of the tensors of a safetensors file, after its header and its size were compared.

    The format: 8 bytes with the header's length, the header as JSON, and the numbers without gaps
    (https://github.com/huggingface/safetensors#format).

    Raises
    ------
    InputError
        If the file is cut off, longer than its header says, empty of tensors, or no such file.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
        if size <= LENGTH_BYTES or length > MAX_HEADER_BYTES:
            raise InputError("UnreadableModel", f"{where} is no safetensors file: {_AGAIN}")
        raw = stream.read(length)
    if len(raw) < length:
        raise _cut_off(where, size, LENGTH_BYTES + length)
    header = _header(where, raw)
    expected = LENGTH_BYTES + length + _num_bytes(where, header)
    if size < expected:
        raise _cut_off(where, size, expected)
    if size > expected:
        message = f"{where} has {size - expected} bytes more than its header says: {_AGAIN}"
        raise InputError("UnreadableModel", message)
    return frozenset(header)


def _cut_off(where: str, size: int, expected: int) -> InputError:
    return InputError("CutOff", f"{where} is cut off: {size} bytes of at least {expected}: {_AGAIN}")


def _header(where: str, raw: bytes) -> dict[str, Any]:
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError("UnreadableModel", f"{where} has a damaged header: {_AGAIN}") from error
    if not isinstance(header, dict):
        raise InputError("UnreadableModel", f"{where} is no safetensors file: {_AGAIN}")
    header.pop("__metadata__", None)
    if not header:
        message = f"{where} holds no tensors: save the model again (of a sharded training, the gathered one)"
        raise InputError("UnreadableModel", message)
    return header


def _num_bytes(where: str, header: Mapping[str, Any]) -> int:
    """Bytes of all tensors, which follow each other without gaps."""
    try:
        spans = sorted(_span(tensor) for tensor in header.values())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _contradicts(where) from error
    begins, ends = [begin for begin, _ in spans], [0, *(end for _, end in spans)]
    if begins != ends[:-1]:
        raise _contradicts(where)
    return ends[-1]


def _span(tensor: Mapping[str, Any]) -> tuple[int, int]:
    """First byte of a tensor, and the first behind it.

    Raises
    ------
    ValueError
        If there is another number of bytes between them than the tensor's shape and type ask for.
    """
    begin, end = (int(place) for place in tensor["data_offsets"])
    bits = BITS.get(tensor["dtype"])
    if begin > end or (bits is not None and bits * prod(map(int, tensor["shape"])) != 8 * (end - begin)):
        raise ValueError(begin, end)
    return begin, end


def _contradicts(where: str) -> InputError:
    return InputError("UnreadableModel", f"{where} has a header that contradicts itself: {_AGAIN}")
