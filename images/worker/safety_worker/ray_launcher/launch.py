"""The entry: this pod's part in the cluster, by launcher and number."""

import signal
import sys
from collections.abc import Callable
from types import FrameType

from safety_worker.ray_launcher.cluster import Cluster, watching
from safety_worker.ray_launcher.errors import EXIT_INTERRUPTED
from safety_worker.ray_launcher.follower import follow
from safety_worker.ray_launcher.head import lead
from safety_worker.ray_launcher.settings import LaunchSettings

Drive = Callable[[Cluster], int]
"""Runs the driver, as a rule with :func:`safety_worker.ray_launcher.run_driver`; gives an exit code, 0 for a
training whose result is there."""


def launch(settings: LaunchSettings, drive: Drive) -> int:
    """Take part in the training's Ray cluster; gives the pod's exit code.

    ``drive`` is called once, in the pod that leads (under ``kuberay`` in the only one that calls this), when
    all nodes have joined. SIGTERM ends everything that was started and comes out as SystemExit with 143.

    Raises
    ------
    LaunchError
        With a reason and an exit code, where the cluster did not come about or broke.
    """
    end_at_sigterm()
    if settings.launcher == "kuberay":
        return _use(settings, drive)
    return lead(settings, drive) if settings.node == 0 else follow(settings)


def _use(settings: LaunchSettings, drive: Drive) -> int:
    """Use the cluster that KubeRay made."""
    address = settings.driver_address
    with watching(address, settings, sys.executable) as alive:
        cluster = Cluster(address, settings, alive)
        cluster.wait()
        return drive(cluster)


def end_at_sigterm() -> None:
    """Let SIGTERM come out as SystemExit with 143; a pod's first process would not hear it at all."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(EXIT_INTERRUPTED)
