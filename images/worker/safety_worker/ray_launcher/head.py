"""Node 0 of launcher ``job``: starts the Ray head, waits for the others, runs the driver."""

import os
import secrets
import socket
import sys
from collections.abc import Callable
from dataclasses import replace

from safety_worker.ray_launcher.cluster import Cluster, watching
from safety_worker.ray_launcher.cpus import ray_cpus, usable_cpus
from safety_worker.ray_launcher.errors import EXIT_INTERRUPTED
from safety_worker.ray_launcher.marker import Marker, State, write_marker
from safety_worker.ray_launcher.processes import ray_command, ray_environment, running
from safety_worker.ray_launcher.settings import LaunchSettings


def lead(settings: LaunchSettings, drive: Callable[[Cluster], int]) -> int:
    """Lead the cluster; gives what the driver gives.

    The marker says how it ended before Ray stops, so that the others know it when their head is gone.
    """
    host = settings.host or own_address()
    address = f"{host}:{settings.ports.gcs}"
    marker = Marker(run=settings.run, head=secrets.token_hex(8), address=address)
    cpus = ray_cpus(settings.gpus, usable_cpus())
    with running(head_command(settings, host, cpus), ray_environment(os.environ)) as head:
        code = 1
        try:
            with watching(address, settings, sys.executable) as alive:
                write_marker(settings.folder, marker)
                cluster = Cluster(address, settings, alive, head.poll)
                cluster.wait()
                write_marker(settings.folder, replace(marker, state="full"))
                code = drive(cluster)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            raise
        finally:
            write_marker(settings.folder, replace(marker, state=_ending(code)))
    return code


def _ending(code: int) -> State:
    if code == 0:
        return "done"
    return "interrupted" if code == EXIT_INTERRUPTED else "failed"


def head_command(settings: LaunchSettings, host: str, cpus: int) -> tuple[str, ...]:
    """``ray start --head``, blocking: without dashboard, without reports to Ray's makers."""
    return ray_command(
        "start",
        "--head",
        f"--port={settings.ports.gcs}",
        "--include-dashboard=false",
        *node_arguments(settings, host, cpus),
    )


def node_arguments(settings: LaunchSettings, host: str, cpus: int) -> tuple[str, ...]:
    """What head and workers have alike."""
    ports = settings.ports
    return (
        "--block",
        "--disable-usage-stats",
        f"--node-ip-address={host}",
        f"--num-cpus={cpus}",
        f"--num-gpus={settings.gpus}",
        f"--object-store-memory={settings.object_store_bytes}",
        f"--node-manager-port={ports.node_manager}",
        f"--object-manager-port={ports.object_manager}",
        f"--runtime-env-agent-port={ports.runtime_env_agent}",
        f"--metrics-export-port={ports.metrics}",
        f"--dashboard-agent-grpc-port={ports.agent_grpc}",
        f"--dashboard-agent-listen-port={ports.agent_http}",
        f"--min-worker-port={ports.first_worker}",
        f"--max-worker-port={ports.last_worker}",
        f"--temp-dir={settings.temporary}",
        "--log-color=false",
    )


def own_address() -> str:
    """The address by which this host's name resolves: in a pod, that of the pod."""
    return socket.gethostbyname(socket.gethostname())
