"""The driver: a child process that uses the cluster, watched together with it."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from safety_worker.ray_launcher.cluster import Cluster
from safety_worker.ray_launcher.processes import running

TICK_SECONDS = 2.0


def run_driver(
    cluster: Cluster,
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    tick: Callable[[], None] = lambda: None,
    tick_seconds: float = TICK_SECONDS,
) -> int:
    """Run a command with RAY_ADDRESS until it ends; gives its exit code, below 0 for a signal.

    Parameters
    ----------
    cluster
        What :func:`safety_worker.ray_launcher.launch` hands over.
    command
        The driver and its arguments; nothing of it is printed.
    environment
        The driver's, this process' own where absent. Ray hands it to all workers: leave out secrets.
    cwd
        Where it runs.
    tick
        Called every ``tick_seconds``; what it raises ends the driver, as SIGTERM and a lost node do.
    tick_seconds
        Pause between two looks.
    """
    variables = {**(os.environ if environment is None else environment), "RAY_ADDRESS": cluster.address}
    with running(command, variables, cwd=cwd) as child:
        while (code := _wait(child, tick_seconds)) is None:
            cluster.check()
            tick()
        return code


def _wait(child: subprocess.Popen[str], seconds: float) -> int | None:
    """The exit code; None where it still runs after so many seconds."""
    deadline = time.monotonic() + seconds
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return child.poll()
