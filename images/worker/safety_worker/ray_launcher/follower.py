"""Any other node of launcher ``job``: joins the head of its own run, and leaves with it."""

import os
import socket
import subprocess
import time
from contextlib import closing

from safety_worker.ray_launcher.cpus import ray_cpus, usable_cpus
from safety_worker.ray_launcher.errors import EXIT_INTERRUPTED, LaunchError
from safety_worker.ray_launcher.head import node_arguments, own_address
from safety_worker.ray_launcher.marker import Marker, read_marker
from safety_worker.ray_launcher.processes import ray_command, ray_environment, running
from safety_worker.ray_launcher.settings import LaunchSettings

CONNECT_SECONDS = 3.0


def follow(settings: LaunchSettings) -> int:
    """Work for the head until it ends.

    Gives 0 after a training that succeeded, and the code of an interruption where the head was interrupted.

    Raises
    ------
    LaunchError
        If no head came, or it failed or is gone.
    """
    cpus = ray_cpus(settings.gpus, usable_cpus())
    marker = wait_for_head(settings)
    command = ray_command(
        "start",
        f"--address={marker.address}",
        *node_arguments(settings, settings.host or own_address(), cpus),
    )
    with running(command, ray_environment(os.environ)) as ray:
        return _stay(settings, marker, ray)


def wait_for_head(settings: LaunchSettings) -> Marker:
    """The marker of a head of this run that waits for nodes and answers.

    One that is full runs without this node: it lost the pod before this one, and will end.
    """
    deadline = time.monotonic() + settings.peers_seconds
    while time.monotonic() < deadline:
        marker = read_marker(settings.folder)
        if marker and marker.run == settings.run and marker.state == "open" and answers(marker.address):
            return marker
        time.sleep(min(0.5, settings.poll_seconds))
    raise LaunchError(
        "PeersMissing",
        f"no Ray head of this run waited for node {settings.node} of {settings.nodes} within "
        f"{settings.peers_seconds:.0f} s. Look at pod 0 of the Job (kubectl get pods)",
    )


def answers(address: str) -> bool:
    """Whether somebody listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        with closing(socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS)):
            return True
    except OSError:
        return False


def _stay(settings: LaunchSettings, joined: Marker, ray: subprocess.Popen[str]) -> int:
    """Wait for the end of the head: by its marker, by its silence, or by that of this node's Ray."""
    heard = time.monotonic()
    while True:
        marker = read_marker(settings.folder)
        if marker is not None and marker.head == joined.head and marker.state not in {"open", "full"}:
            return _ended(settings, marker)
        if ray.poll() is not None:
            raise _ended_alone(ray.returncode, answers(joined.address))
        if marker is not None and marker.head != joined.head:
            raise _lost("another head took its place")
        heard = time.monotonic() if answers(joined.address) else heard
        if time.monotonic() - heard > settings.lost_seconds:
            raise _lost(f"it has not answered at {joined.address} for {settings.lost_seconds:.0f} s")
        time.sleep(settings.poll_seconds)


def _ended(settings: LaunchSettings, marker: Marker) -> int:
    if marker.state == "done":
        return 0
    if marker.state == "interrupted":
        return EXIT_INTERRUPTED
    words = f"node 0 of {settings.nodes} failed; its pod says why"
    raise LaunchError("RayHeadFailed", words, EXIT_INTERRUPTED)


def _ended_alone(code: int, has_head: bool) -> LaunchError:
    """The Ray of a pod ended: where its head still answers nobody else tells why, so that this end counts."""
    if not has_head:
        return _lost(f"this node's Ray ended with exit code {code}")
    return LaunchError(
        "RayEnded", f"this node's Ray ended with exit code {code} beside its head: see its log"
    )


def _lost(why: str) -> LaunchError:
    return LaunchError(
        "RayHeadLost",
        f"the Ray head is gone: {why}. The training starts again from its last checkpoint",
        EXIT_INTERRUPTED,
    )
