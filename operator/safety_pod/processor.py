"""Whether this machine's processor computes in bfloat16, or has to imitate it.

Without such instructions torch, oneDNN and vLLM convert number by number: a matrix product takes 5 to 9 times
as long as in float32, which is exact for everything that bfloat16 can say (docs/experiments.md).
"""

import os
import sys
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
FLAG_LINES = ("flags", "Features")
"""What Linux calls them on x86 and on ARM."""
ENOUGH = (
    frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq"}),
    frozenset({"avx_ne_convert"}),
    frozenset({"bf16"}),
)
"""Any of these is: where oneDNN has products of bfloat16
(https://uxlfoundation.github.io/oneDNN/dev_guide_data_types.html), and ARM's extension."""
DTYPE = "--dtype"
"""vLLM's argument."""


def computes_bfloat16(cpu_info: Path | None = None) -> bool:
    """Whether it does; True where the processor's flags cannot be read."""
    try:
        lines = (cpu_info or CPU_INFO).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True
    found = [
        value.split()
        for name, _, value in (line.partition(":") for line in lines)
        if name.strip() in FLAG_LINES
    ]
    return not found or any(needed <= set(found[0]) for needed in ENOUGH)


def choose_dtype(arguments: list[str]) -> None:
    """Put float32 in the place of vLLM's ``--dtype auto``, which is bfloat16 on every CPU."""
    if DTYPE not in arguments or computes_bfloat16():
        return
    at = arguments.index(DTYPE) + 1
    if arguments[at : at + 1] == ["auto"]:
        arguments[at] = "float32"
        sys.stderr.write(f"This processor has no bfloat16: {DTYPE} auto is float32{os.linesep}")
