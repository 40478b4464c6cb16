"""What a screening Job has beyond a worker's: an accelerator, pods that share the rows, many retries."""

from safety_operator.api.safety_blend import ScreeningCompute
from safety_operator.children.pod import GPU, ResourceSet
from safety_operator.children.worker_job import JobShape

BACKOFF_LIMIT = 20
"""Finished windows of rows are kept, so a lost pod costs minutes and many may be lost."""
DEADLINE_SECONDS = 1_209_600
"""Two weeks."""
CPU_RESOURCES = ResourceSet(requests={"cpu": "400m", "memory": "4Gi"})
GPU_RESOURCES = ResourceSet(requests={"cpu": "4", "memory": "32Gi"}, limits={GPU: 1})
"""Resources of a screening pod where the spec says nothing; one GPU a pod."""


def screening_shape(compute: ScreeningCompute, *, device: str) -> JobShape:
    """The shape of a screening Job, Indexed where several pods share the rows. They meet in the store."""
    return JobShape(
        resources=_resources(compute, device),
        backoff_limit=BACKOFF_LIMIT,
        deadline_seconds=DEADLINE_SECONDS,
        completions=compute.shards if compute.shards > 1 else 0,
    )


def _resources(compute: ScreeningCompute, device: str) -> ResourceSet:
    own = compute.resources
    if own is not None and (own.requests or own.limits):
        return ResourceSet(dict(own.requests), dict(own.limits))
    return GPU_RESOURCES if device == "gpu" else CPU_RESOURCES
