"""Child processes with all their descendants, and the environment of Ray's."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

GRACE_SECONDS = 15.0
"""Time between SIGTERM and SIGKILL."""
POLL_SECONDS = 0.1
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)
"""Names of variables that Ray's own processes need not have: they hand their environment to every worker."""

RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "60",
    "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
}
"""No reports to Ray's makers; the kernel and not Ray ends what takes too much memory; a node whose head is
silent for a minute ends."""


def ray_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of Ray's own processes: without secrets, and without an address of another cluster."""
    kept = {
        key: value for key, value in environment.items() if not SECRET.search(key) and key != "RAY_ADDRESS"
    }
    return RAY_ENVIRONMENT | kept


def ray_command(*arguments: str) -> tuple[str, ...]:
    """Ray's command line, of this very Python."""
    return (sys.executable, "-m", "ray.scripts.scripts", *arguments)


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], *, cwd: Path | None = None, read: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A child in a process group of its own, which is ended with the block; ``read``: its output is ours."""
    with subprocess.Popen(
        command,
        env=dict(environment),
        cwd=cwd,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if read else None,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            end_group(child)


def end_group(child: subprocess.Popen[str], grace: float = GRACE_SECONDS) -> None:
    """End a child and what it started; after the grace, or a second SIGTERM to this process, at once."""
    try:
        _signal_group(child, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    finally:
        _signal_group(child, signal.SIGKILL)
        child.wait()


def _signal_group(child: subprocess.Popen[str], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
