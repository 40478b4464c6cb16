"""Shapes of Jobs that may run for days, on accelerators where there are some: training and screening.

Both keep what is done, so that a lost pod costs minutes, and many may be lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from safety_operator.api.blend_screening import ScreeningCompute
from safety_operator.api.safety_finetune import Compute
from safety_operator.children.foreign_image import WRAPPER_PATH
from safety_operator.children.pod import shared_memory_mount
from safety_operator.children.resources import ResourceSet, Wanted
from safety_operator.children.worker_job import STOP_SECONDS, JobShape, RayShape
from safety_records.screening import SCREENING_MEMORY_REMEDY
from safety_records.training import MEMORY_REMEDY, NemoRlVersion

LONG_JOB = JobShape(role="trainer", backoff_limit=20, deadline_seconds=1_209_600)
"""Of many tries, within two weeks."""
CPU_TRAINING = ResourceSet(requests={"cpu": "400m", "memory": "5Gi"})
CPU_SCREENING = ResourceSet(requests={"cpu": "400m", "memory": "4Gi"})
ON_GPU = ResourceSet(requests={"cpu": "4", "memory": "32Gi"})
"""Of a pod for each of its GPUs, which come on top."""
GPU_ENV = {"NCCL_DEBUG": "WARN", "PYTORCH_ALLOC_CONF": "expandable_segments:True"}
"""NCCL says what it cannot do. Rows of different lengths leave holes in an allocator of fixed segments.

Nothing else has to be set in restricted pods: GPUs of a pod speak through NVLink or /dev/shm, pods through
their own network, in which a Job's pods may reach each other at every port."""


def training_shape(
    inputs: JobShape, compute: Compute, *, device: str, grace_seconds: int = STOP_SECONDS
) -> JobShape:
    """The shape of a training Job: Indexed, one pod a node, with what ``inputs`` mounts.

    ``build_stage_job`` tells the pods of several nodes where to meet. When one of them fails all others do:
    so many more failures are allowed.
    """
    on_gpu = device == "gpu"
    resources = training_resources(compute, device=device)
    return replace(
        LONG_JOB,
        resources=resources,
        config_maps=inputs.config_maps,
        claims=inputs.claims,
        internet=inputs.internet,
        completions=compute.nodes,
        backoff_limit=LONG_JOB.backoff_limit * compute.nodes,
        memory_remedy=MEMORY_REMEDY,
        meets=True,
        mounts=(shared_memory_mount(f"{max(16, 4 * resources.gpus)}Gi" if on_gpu else "1Gi"),),
        env=GPU_ENV if on_gpu else {},
        grace_seconds=grace_seconds,
    )


def training_resources(compute: Compute, *, device: str) -> Wanted:
    """What each pod of a training takes."""
    on_gpu = device == "gpu"
    default, gpus = (for_gpus(compute.gpus_per_node), compute.gpus_per_node) if on_gpu else (CPU_TRAINING, 0)
    return Wanted(default, compute.resources, gpus)


def for_gpus(count: int) -> ResourceSet:
    """What a pod with so many GPUs requests besides them."""
    return ResourceSet(requests={"cpu": str(4 * count), "memory": f"{32 * count}Gi"})


NEMO_RL_RAY: Mapping[NemoRlVersion, str] = {"0.7.0": "2.55.1"}
"""Ray in the images of NeMo-RL; KubeRay wants to know it."""
NEMO_RL_COMMAND = ("/bin/sh", f"{WRAPPER_PATH}/safety_worker/training/nemo_rl/start.sh")
"""What runs in an image of NeMo-RL: our wrapper, by the image's own Python."""


def nemo_rl_shape(
    inputs: JobShape,
    compute: Compute,
    *,
    image: str,
    version: NemoRlVersion,
    grace_seconds: int = STOP_SECONDS,
    as_root: bool = False,
    command: Sequence[str] = (),
) -> JobShape:
    """The shape of a training in an image of NeMo-RL: a Ray cluster of one pod a node.

    ``as_root``: as the published image needs it; ``command``: in place of NEMO_RL_COMMAND.
    """
    kuberay = compute.launcher == "kuberay"
    return replace(
        training_shape(inputs, compute, device="gpu", grace_seconds=grace_seconds),
        image=image,
        command=tuple(command) or NEMO_RL_COMMAND,
        ray=RayShape(NEMO_RL_RAY[version], compute.gpus_per_node, kuberay=kuberay),
        as_root=as_root,
    )


def screening_shape(compute: ScreeningCompute, *, device: str) -> JobShape:
    """The shape of a screening Job, Indexed where several pods share the rows. They meet in the store."""
    default, gpus = (ON_GPU, 1) if device == "gpu" else (CPU_SCREENING, 0)
    shards = compute.shards if compute.shards > 1 else 0
    return replace(
        LONG_JOB,
        resources=Wanted(default, compute.resources, gpus),
        completions=shards,
        memory_remedy=SCREENING_MEMORY_REMEDY,
    )
