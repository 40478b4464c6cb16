"""Files of weights that hold what a test wants, in the formats' own form."""

import json
import struct
from collections.abc import Mapping


def tensors(*contents: bytes, names: tuple[str, ...] = ("w",), metadata: bool = False) -> bytes:
    """A safetensors file with bytes as tensors; one without any has none."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}} if metadata else {}
    begin = 0
    for name, content in zip(names, contents, strict=False):
        end = begin + len(content)
        header[name] = {"dtype": "U8", "shape": [len(content)], "data_offsets": [begin, end]}
        begin = end
    return with_header(header, b"".join(contents))


def with_header(header: Mapping[str, object], content: bytes = b"") -> bytes:
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + content


def gguf(num_tensors: int = 1) -> bytes:
    """A GGUF file with some metadata and tensors of 64 numbers in Q4_0 (two blocks of 18 bytes)."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, num_tensors, 3)
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head += text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    head += text("scores") + struct.pack("<IIQff", 9, 6, 2, 0.5, 1.5)
    for number in range(num_tensors):
        head += text(f"blk.{number}") + struct.pack("<IQQIQ", 2, 32, 2, 2, number * 64)
    return head + bytes(-len(head) % 32) + bytes(64) * (num_tensors - 1) + bytes(36)
