"""What a pod has to know to take part in a Ray cluster."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from safety_worker.ray_launcher.errors import EXIT_INPUT, LaunchError

Launcher = Literal["job", "kuberay"]

RUN_VARIABLE = "SAFETY_RUN"
"""Variable with what tells this run of the pods from any other of the same name: the Job's uid."""
NODE_VARIABLE = "JOB_COMPLETION_INDEX"
"""Kubernetes' variable with the number of a pod of an Indexed Job."""
ADDRESS_VARIABLE = "SAFETY_POD_IP"
"""Variable with the pod's address; absent: Ray finds it itself."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Fixed ports of a node: a NetworkPolicy or a person who looks for a fault can name them."""

    gcs: int = 6379
    """Of the head, where the others join."""
    node_manager: int = 6380
    object_manager: int = 6381
    runtime_env_agent: int = 6382
    metrics: int = 6383
    agent_grpc: int = 6384
    agent_http: int = 52365
    first_worker: int = 10002
    last_worker: int = 19999


@dataclass(frozen=True, slots=True)
class LaunchSettings:
    """One pod's part in the cluster."""

    launcher: Launcher
    nodes: int
    """Pods in all."""
    gpus: int
    """GPUs of each node, as Ray is to count them: logical ones on CPU."""
    folder: Path
    """On a volume that all pods share; holds the head's marker, and is the training's own."""
    node: int = 0
    """Number of this pod."""
    run: str = ""
    """Tells this run of the pods from an earlier one: a pod joins no head of another run."""
    host: str = ""
    """Address of this pod; empty: as Ray finds it."""
    driver_address: str = ""
    """kuberay: where the cluster is."""
    peers_seconds: float = 1800.0
    """Time for all nodes to join: an image of 36 GB may have to be pulled first."""
    object_store_bytes: int = 200_000_000
    """Of a node, in /dev/shm. Supervised training moves batches only."""
    temporary: str = "/tmp/ray"  # noqa: S108 - Ray's own default
    """Ray's folder of sockets and logs; short, because a socket's path has 107 characters at most."""
    ports: Ports = field(default_factory=Ports)
    poll_seconds: float = 2.0
    lost_seconds: float = 30.0
    """Time that a node may be missing, or the head not answer, before it counts as lost."""

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], *, launcher: Launcher, nodes: int, gpus: int, folder: Path
    ) -> "LaunchSettings":
        """Settings of a pod as the operator makes it.

        Raises
        ------
        LaunchError
            If the environment does not say which node this is, or where the cluster is.
        """
        needed = ["RAY_ADDRESS"] if launcher == "kuberay" else [NODE_VARIABLE] if nodes > 1 else []
        missing = [name for name in needed if not environment.get(name)]
        if missing:
            raise LaunchError("NoRayEnvironment", f"{launcher}: not set: {', '.join(missing)}", EXIT_INPUT)
        return cls(
            launcher=launcher,
            nodes=nodes,
            gpus=gpus,
            folder=folder,
            node=int(environment.get(NODE_VARIABLE) or 0) if launcher == "job" else 0,
            run=environment.get(RUN_VARIABLE, ""),
            host=environment.get(ADDRESS_VARIABLE, ""),
            driver_address=environment.get("RAY_ADDRESS", "") if launcher == "kuberay" else "",
        )
