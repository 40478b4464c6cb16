"""Where this process stands among those that train together. Pure.

An Indexed Job gives each pod its number in ``JOB_COMPLETION_INDEX``; torch wants ``RANK`` and friends. One
process a pod: several GPUs are several pods of one GPU.
"""

from collections.abc import Mapping
from typing import NamedTuple

from safety_worker.errors import InfrastructureError

ALONE_IN_POD = {
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}
"""What holds unless the environment says otherwise; rank 0 listens at the last two."""


class ProcessRank(NamedTuple):
    """Rank and number of processes."""

    rank: int
    world_size: int


def find_rank(nodes: int, environment: Mapping[str, str]) -> ProcessRank:
    """Rank and world size: torchrun's own variables first, then those of an Indexed Job.

    Raises
    ------
    InfrastructureError
        If there are several nodes and the environment does not say which this is, or where rank 0 is.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return ProcessRank(int(environment["RANK"]), int(environment["WORLD_SIZE"]))
    if nodes == 1:
        return ProcessRank(0, 1)
    missing = {"JOB_COMPLETION_INDEX", "MASTER_ADDR"} - environment.keys()
    if missing:
        raise InfrastructureError("NoRendezvous", f"{nodes} nodes, but not set: {', '.join(sorted(missing))}")
    return ProcessRank(int(environment["JOB_COMPLETION_INDEX"]), nodes)


def rendezvous_variables(place: ProcessRank, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that torch needs for its process group; none for a single process."""
    if place.world_size == 1:
        return {}
    others = {name: environment.get(name, value) for name, value in ALONE_IN_POD.items()}
    return {"RANK": str(place.rank), "WORLD_SIZE": str(place.world_size), **others}
