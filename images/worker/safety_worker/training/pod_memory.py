"""Whether the kernel has killed processes of this container because its memory was full.

Where the kubelet lets single processes be killed (cgroups v1, ``singleProcessOOMKill``), a process of
torchrun ends by SIGKILL, and only the kernel's count says why. Where the whole container ends, Kubernetes
tells.
"""

import re
from pathlib import Path

from safety_records.training import MEMORY_REMEDY
from safety_worker.errors import InputError

COUNTS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))
"""Files of cgroups v2 and v1 that have a line ``oom_kill NUMBER``."""

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
LIMITS = (
    ("memory.max", "memory.current", "memory.stat", ("inactive_file", "active_file")),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        ("total_inactive_file", "total_active_file"),
    ),
)
"""Of cgroups v2 and v1: limit, what is in use, and what of that files take, which the kernel gives back."""

_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def count_kills() -> int | None:
    """Processes of this container that were killed for its memory so far; None where nothing says so."""
    for path in COUNTS:
        try:
            found = _KILLS.search(path.read_text(encoding="utf-8"))
        except OSError:
            continue
        if found is not None:
            return int(found[1])
    return None


def out_of_memory(what: str) -> InputError:
    """Trying again would end the same; ``what`` happened."""
    return InputError("OutOfMemory", f"{what}: {MEMORY_REMEDY}")


def free_bytes() -> int:
    """Memory that this container can still take: of its limit, and of its node."""
    found = [_available(MEMINFO), *(_below_limit(*names) for names in LIMITS)]
    return max(0, min((one for one in found if one is not None), default=0))


def _available(path: Path) -> int | None:
    kib = _numbers(path).get("MemAvailable:")
    return None if kib is None else kib * 1024


def _below_limit(limit: str, used: str, details: str, files: tuple[str, ...]) -> int | None:
    numbers = [_read(CGROUP / name) for name in (limit, used)]
    if not all(number.isdigit() for number in numbers):  # v2 says max where there is no limit
        return None
    cached = _numbers(CGROUP / details)
    return int(numbers[0]) - int(numbers[1]) + sum(cached.get(name, 0) for name in files)


def _numbers(path: Path) -> dict[str, int]:
    lines = (line.split() for line in _read(path).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
