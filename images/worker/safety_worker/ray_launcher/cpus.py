"""CPUs that a container may use."""

import os
from pathlib import Path

from safety_worker.ray_launcher.errors import EXIT_INPUT, LaunchError

CGROUP = Path("/sys/fs/cgroup")


def usable_cpus(cgroup: Path = CGROUP) -> int:
    """CPUs by the limit of the container, else those of the node; at least 1, parts of one left out."""
    found = len(os.sched_getaffinity(0))
    limit = _limit(cgroup)
    return max(1, min(found, int(limit)) if limit is not None else found)


def _limit(cgroup: Path) -> float | None:
    """The quota in CPUs, of cgroup version 2 or 1; None where there is none."""
    for quota, period in (_version_2(cgroup), _version_1(cgroup)):
        if quota > 0 and period > 0:
            return quota / period
    return None


def _version_2(cgroup: Path) -> tuple[int, int]:
    words = _read(cgroup / "cpu.max").split()
    return (int(words[0]), int(words[1])) if len(words) > 1 and words[0].isdigit() else (0, 0)


def _version_1(cgroup: Path) -> tuple[int, int]:
    texts = [_read(cgroup / "cpu" / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    return (int(texts[0] or 0), int(texts[1] or 0))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def ray_cpus(gpus: int, usable: int) -> int:
    """CPUs that Ray is told of.

    Each GPU's worker takes one, and the driver needs one more: with fewer it waits for ever, without a word.

    Raises
    ------
    LaunchError
        If there are fewer.
    """
    if usable <= gpus:
        raise LaunchError(
            "TooFewCPUs",
            f"Ray needs a CPU for each GPU and one more: {gpus + 1} for {gpus} GPUs, but the container may "
            f"use {usable}. Set spec.compute.resources to at least cpu: {gpus + 1} (requests and limits).",
            EXIT_INPUT,
        )
    return usable
