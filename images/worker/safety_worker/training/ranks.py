"""Where this process stands among those that train together, and its share of the pod's CPUs.

An Indexed Job gives each pod its number in ``JOB_COMPLETION_INDEX``: that of its node. A pod with several
processes starts them by torchrun's launcher (``launching``), which gives each its ``RANK`` and friends; a pod
with one is that process itself.
"""

from collections.abc import Mapping
from typing import NamedTuple

from safety_worker.errors import InfrastructureError
from safety_worker.ray_launcher.cpus import usable_cpus

DEFAULT_PORT = "29500"
"""Where the first process listens unless the environment says otherwise: torch's own."""


class Node(NamedTuple):
    """A pod among those that train together."""

    number: int = 0
    """Which of them, from 0."""
    nodes: int = 1
    address: str = "127.0.0.1"
    """Where node 0 is."""
    port: str = DEFAULT_PORT


class ProcessRank(NamedTuple):
    """A process among those that train together."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    """Among those of its pod; the number of its GPU."""

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes what is not the trainer's."""
        return self.rank == 0


def find_node(nodes: int, environment: Mapping[str, str]) -> Node:
    """The node of this pod.

    Raises
    ------
    InfrastructureError
        If there are several and the environment does not say which this is, or where node 0 is.
    """
    port = environment.get("MASTER_PORT", DEFAULT_PORT)
    if nodes == 1:
        return Node(port=port)
    missing = {"JOB_COMPLETION_INDEX", "MASTER_ADDR"} - environment.keys()
    if missing:
        raise InfrastructureError("NoRendezvous", f"{nodes} nodes, but not set: {', '.join(sorted(missing))}")
    return Node(int(environment["JOB_COMPLETION_INDEX"]), nodes, environment["MASTER_ADDR"], port)


def is_launched(environment: Mapping[str, str]) -> bool:
    """Whether a launcher has started this process."""
    return "RANK" in environment and "WORLD_SIZE" in environment


def find_rank(nodes: int, environment: Mapping[str, str]) -> ProcessRank:
    """Rank and world size: a launcher's variables first, then those of an Indexed Job.

    Raises
    ------
    InfrastructureError
        As :func:`find_node`.
    """
    if is_launched(environment):
        local = int(environment.get("LOCAL_RANK", "0"))
        return ProcessRank(int(environment["RANK"]), int(environment["WORLD_SIZE"]), local)
    return ProcessRank(find_node(nodes, environment).number, nodes)


def rendezvous_variables(place: ProcessRank, node: Node) -> dict[str, str]:
    """Variables from which torch knows the others; none for a single process."""
    if place.world_size == 1:
        return {}
    return {
        "RANK": str(place.rank),
        "WORLD_SIZE": str(place.world_size),
        "LOCAL_RANK": str(place.local_rank),
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": node.address,
        "MASTER_PORT": node.port,
    }


def threads_of_each(processes: int) -> int:
    """CPUs of this pod, by its limit and not those of its node, over its processes; at least one."""
    return max(1, usable_cpus() // processes)
