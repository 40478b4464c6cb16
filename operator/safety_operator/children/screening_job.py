"""What a screening Job has beyond a worker's: an accelerator, pods that share the rows, many retries."""

from safety_operator.api.blend_screening import ScreeningCompute
from safety_operator.children.resources import ResourceSet, Wanted
from safety_operator.children.worker_job import JobShape

BACKOFF_LIMIT = 20
"""Finished windows of rows are kept, so a lost pod costs minutes and many may be lost."""
DEADLINE_SECONDS = 1_209_600
"""Two weeks."""
CPU_RESOURCES = ResourceSet(requests={"cpu": "400m", "memory": "4Gi"})
GPU_RESOURCES = ResourceSet(requests={"cpu": "4", "memory": "32Gi"})
"""Of a screening pod with its GPU, which comes on top."""


def screening_shape(compute: ScreeningCompute, *, device: str) -> JobShape:
    """The shape of a screening Job, Indexed where several pods share the rows. They meet in the store."""
    return JobShape(
        role="trainer",
        resources=_wanted(compute, device),
        backoff_limit=BACKOFF_LIMIT,
        deadline_seconds=DEADLINE_SECONDS,
        completions=compute.shards if compute.shards > 1 else 0,
    )


def _wanted(compute: ScreeningCompute, device: str) -> Wanted:
    if device == "gpu":
        return Wanted(GPU_RESOURCES, compute.resources, gpus=1)
    return Wanted(CPU_RESOURCES, compute.resources)
