"""Files next to an ONNX graph that hold its weights, found without a library of ONNX."""

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from safety_worker.errors import InputError

_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])", re.DOTALL)
"""How the entry ``location`` of a tensor's ``external_data`` begins in protobuf; the last byte is the length
of the name that follows."""


def check_graph(where: str, path: Path) -> None:
    """Make sure that the files with a graph's weights are next to it.

    Raises
    ------
    InputError
        Naming the first that does not, and what is fetched.
    """
    for name in sorted(set(external_files(path))):
        if not (path.parent / name).is_file():
            raise InputError(
                "ShardMissing",
                f"{where} keeps weights in {name}, which is not there: copy it as well; with model.onnx "
                "model.onnx_data and model.onnx.data are fetched",
            )


def external_files(path: Path) -> Iterator[str]:
    """Names of these files, one for each tensor."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for found in _LOCATION.finditer(content):
            yield content[found.end() : found.end() + found[1][0]].decode("utf-8", "replace")
