"""What a training Job has beyond a worker's: nodes that meet, accelerators, shared memory, many retries."""

from safety_operator.api.safety_finetune import Compute
from safety_operator.children.pod import shared_memory_mount
from safety_operator.children.resources import ResourceSet, Wanted
from safety_operator.children.worker_job import JobShape

BACKOFF_LIMIT = 20
"""Training continues from its last checkpoint, so a lost pod costs little and many may be lost."""
DEADLINE_SECONDS = 1_209_600
"""Two weeks."""
CPU_RESOURCES = ResourceSet(requests={"cpu": "400m", "memory": "5Gi"})
GPU_RESOURCES = ResourceSet(requests={"cpu": "4", "memory": "32Gi"})
"""Of a training pod with GPUs, which come on top."""


def training_shape(
    compute: Compute, *, device: str, config_maps: tuple[str, ...], claims: tuple[str, ...], internet: bool
) -> JobShape:
    """The shape of a training Job: Indexed, one pod a node.

    ``build_stage_job`` tells the pods of several nodes where to meet.
    """
    return JobShape(
        role="trainer",
        resources=_wanted(compute, device),
        config_maps=config_maps,
        claims=claims,
        internet=internet,
        backoff_limit=BACKOFF_LIMIT,
        deadline_seconds=DEADLINE_SECONDS,
        completions=compute.nodes,
        meets=True,
        mounts=(shared_memory_mount("16Gi" if device == "gpu" else "1Gi"),),
    )


def _wanted(compute: Compute, device: str) -> Wanted:
    if device == "gpu":
        return Wanted(GPU_RESOURCES, compute.resources, compute.gpus_per_node)
    return Wanted(CPU_RESOURCES, compute.resources)
