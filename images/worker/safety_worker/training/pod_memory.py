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
