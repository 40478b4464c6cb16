"""Whether the kernel ended processes of this pod because its memory was full.

It may end one of Ray's and leave the one that wrote to the log, so that no exit code tells.
"""

import re
from pathlib import Path

COUNTERS = ("memory.events", "memory/memory.oom_control")
"""Files below the mount of cgroups that count the kills, of version 2 and 1."""
_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def kills(mount: Path = Path("/sys/fs/cgroup")) -> int:
    """Processes that were ended since the container began; 0 also where nobody counts them."""
    for name in COUNTERS:
        try:
            found = _KILLS.search((mount / name).read_text(encoding="utf-8"))
        except OSError:
            continue
        if found:
            return int(found[1])
    return 0
