"""The Job of a stage: one pod of the worker image that runs one stage specification."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

from safety_operator.api.pods import PodRole
from safety_operator.children.foreign_image import WRAPPER_MOUNT, WRAPPER_PATH, copy_container
from safety_operator.children.metadata import Owner, canonical_hash, child_metadata, child_name
from safety_operator.children.network_policy import INTERNET, NAMESPACE, Reach
from safety_operator.children.pod import (
    Mount,
    SecretEnv,
    artifacts_mount,
    build_container,
    build_pod_template,
)
from safety_operator.children.pod_options import EffectiveOptions
from safety_operator.children.resources import ResourceSet, Wanted
from safety_operator.children.service import RENDEZVOUS_PORT
from safety_operator.children.stage_spec import SPEC_FILE, spec_map_name, spec_mount
from safety_operator.children.volumes import volume_mounts
from safety_operator.state.labels import (
    ANNOTATION_ATTEMPT,
    ANNOTATION_HASH,
    ANNOTATION_RETRY,
    ANNOTATION_SPEC,
    QUEUE_LABEL,
)
from safety_operator.state.settings import Images
from safety_records.in_place import Volume, volumes_in
from safety_records.result import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_KILLED

BACKOFF_LIMIT = 3
"""Pods that may fail for reasons of infrastructure before the Job counts as failed."""
DEADLINE_SECONDS = 86_400
"""A day for a stage that reads, asks or scores; what is finished survives the deadline."""
WORKER = Wanted(ResourceSet(requests={"cpu": "100m", "memory": "1Gi"}))
"""Requests of a worker: small, so that server, worker and operator share a node of 2 cores."""
CONTAINER = "worker"
"""Name of the container, which the pod failure policy refers to."""
STOP_SECONDS = 60
"""Time to finish what is in flight and to close files."""


OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
"""For pods that reach no hub anyway: libraries then do not wait for one."""


@dataclass(frozen=True, slots=True)
class RayShape:
    """The Ray cluster that the pods of a stage make, or that KubeRay makes of them."""

    version: str
    """Of Ray in the image."""
    gpus: int
    """GPUs of each pod."""
    kuberay: bool = False
    """Whether KubeRay starts Ray; else the pods do (``safety_worker.ray_launcher``)."""


@dataclass(frozen=True, slots=True)
class JobShape:
    """What a stage's pod needs besides its specification."""

    role: PodRole = "worker"
    """Whose options the pod has."""
    resources: Wanted = WORKER
    secret_env: tuple[SecretEnv, ...] = ()
    config_maps: tuple[str, ...] = ()
    """ConfigMaps that are mounted at /inputs/configmap/<name>."""
    claims: tuple[str, ...] = ()
    """Claims that are mounted at /inputs/pvc/<name>."""
    image_volumes: tuple[str, ...] = ()
    """References of images that are mounted below /inputs/oci."""
    internet: bool = False
    """Whether it reads from outside the cluster, and so may reach every address."""
    trackers: Reach = NAMESPACE
    """How far it may go to send numbers, where it is not ``internet``."""
    env: dict[str, str] = field(default_factory=dict)
    backoff_limit: int = BACKOFF_LIMIT
    memory_remedy: str = ""
    """What helps where its memory is not enough, for which it then fails at once; empty: it tries again."""
    deadline_seconds: int = DEADLINE_SECONDS
    completions: int = 0
    """0: an ordinary Job; else an Indexed one with so many pods at the same time."""
    meets: bool = False
    """Whether the pods of an Indexed Job talk to each other, and need a place to meet."""
    mounts: tuple[Mount, ...] = ()
    """Further volumes, such as shared memory."""
    grace_seconds: int = STOP_SECONDS
    """Time between SIGTERM and the end."""
    artifacts: bool = True
    """Whether the artifact store is mounted."""
    queued: bool = True
    """Whether Kueue decides when it runs, where the resource names a queue."""
    image: str = ""
    """Image of others, into which an init container puts the worker's packages; empty: the worker image."""
    command: tuple[str, ...] = ()
    """With image: what runs there. ``--spec FILE`` is added."""
    ray: RayShape | None = None
    as_root: bool = False
    """Whether the container that does the work runs as root, without capabilities."""


@dataclass(frozen=True, slots=True)
class StageRun:
    """An attempt at a stage, and all that its Job or RayJob is made of."""

    owner: Owner
    role: str
    """Name of the stage."""
    spec_json: str
    """The stage specification, which a ConfigMap of its own holds (``stage_spec``)."""
    inputs_hash: str
    attempt: int
    """From 1."""
    versions: Any
    """JSON value with the versions of the objects that the pods read; part of the retry token."""
    shape: JobShape
    images: Images
    options: EffectiveOptions
    """What pods of the shape's role are to have."""
    claim: str
    """Holds the artifact store."""
    queue: str
    """Kueue's; empty for none."""

    @property
    def spec_map(self) -> str:
        """Name of the ConfigMap with the specification."""
        return spec_map_name(self.owner, self.role, self.spec_json)


def reach_of(shape: JobShape) -> Reach:
    """How far the pods may go."""
    return INTERNET if shape.internet else shape.trackers


def job_name(owner: Owner, role: str, inputs_hash: str, attempt: int) -> str:
    """Name of a stage's Job; a further attempt has one of its own, so that nothing needs to be remembered."""
    if attempt <= 1:
        return child_name(owner, role, inputs_hash)
    return child_name(owner, role, canonical_hash([inputs_hash, attempt]))


def run_kind(shape: JobShape) -> str:
    """Kind of what carries a stage out."""
    return "RayJob" if shape.ray is not None and shape.ray.kuberay else "Job"


def record_shape(shape: JobShape) -> JobShape:
    """The shape of a Job that asks for the record of a stage that another kind of object carried out."""
    return JobShape(
        config_maps=shape.config_maps,
        claims=shape.claims,
        image_volumes=shape.image_volumes,
        internet=shape.internet,
        artifacts=shape.artifacts,
    )


def with_models(shape: JobShape, spec_json: str) -> JobShape:
    """The shape with the volumes of models that a specification names and that stay where they are."""
    if "/models/in-place/" not in spec_json:
        return shape
    volumes = volumes_in(json.loads(spec_json))
    claims = {volume.name for volume in volumes if volume.kind == "pvc"} | {*shape.claims}
    images = {volume.name for volume in volumes if volume.kind == "oci"} | {*shape.image_volumes}
    return replace(shape, claims=tuple(sorted(claims)), image_volumes=tuple(sorted(images)))


def build_stage_job(run: StageRun) -> dict[str, Any]:
    """The Job of an attempt."""
    shape = run.shape
    name = job_name(run.owner, run.role, run.inputs_hash, run.attempt)
    template = build_stage_template(run, name)
    spec: dict[str, Any] = {
        "backoffLimit": shape.backoff_limit,
        "activeDeadlineSeconds": shape.deadline_seconds,
        "podFailurePolicy": _failure_policy(EXIT_INPUT, *((EXIT_KILLED,) if shape.memory_remedy else ())),
        "template": template,
    }
    if shape.completions:
        spec |= {
            "completionMode": "Indexed",
            "completions": shape.completions,
            "parallelism": shape.completions,
        }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": run_metadata(run, name, template),
        "spec": spec,
    }


def run_metadata(run: StageRun, name: str, pods: Any) -> dict[str, Any]:
    """Metadata of a Job or RayJob, with what the engine knows it again by; ``pods``: what its pods are."""
    annotations = {
        ANNOTATION_HASH: run.inputs_hash,
        ANNOTATION_ATTEMPT: str(run.attempt),
        ANNOTATION_RETRY: canonical_hash([pods, run.versions]),
        ANNOTATION_SPEC: run.spec_map,
    }
    labels = {QUEUE_LABEL: run.queue} if run.queue and run.shape.queued else {}
    return child_metadata(run.owner, run.role, name, labels=labels, annotations=annotations)


def _mounts(run: StageRun) -> tuple[Mount, ...]:
    shape = run.shape
    mounts = (spec_mount(run.spec_map), *_input_mounts(shape, run.claim), *shape.mounts)
    mounts = (artifacts_mount(run.claim, read_only=False), *mounts) if shape.artifacts else mounts
    return (*mounts, WRAPPER_MOUNT) if shape.image else mounts


def _failure_policy(*final: int) -> dict[str, Any]:
    """Preemption, eviction and SIGTERM do not count; ``final`` codes fail at once; the rest tries again."""
    return {
        "rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [*final]},
            },
            {
                "action": "Ignore",
                "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [EXIT_INTERRUPTED]},
            },
        ]
    }


def build_stage_template(run: StageRun, name: str, *, instance: str = "") -> dict[str, Any]:
    """The pods of a Job of this name; ``instance``: of what they are, where no Job says so."""
    owner, shape, images, options = run.owner, run.shape, run.images, run.options
    mounts = _mounts(run)
    command = ("run",) if not shape.image else ()
    container = build_container(
        CONTAINER,
        shape.image or images.worker_on(gpu=shape.resources.gpus > 0),
        pull_policy=images.pull_policy,
        resources=shape.resources.settle(options.resources),
        options=options,
        mounts=mounts,
        command=shape.command,
        args=(*command, "--spec", SPEC_FILE),
        env={
            **({} if shape.internet else OFFLINE),
            **({"PYTHONPATH": WRAPPER_PATH} if shape.image else {}),
            **shape.env,
            **_rendezvous_env(owner, name, shape),
        },
        secret_env=shape.secret_env,
        as_root=shape.as_root,
    )
    container["env"] += _ray_env(shape)
    return build_pod_template(
        owner,
        run.role,
        container,
        options=options,
        images=images,
        mounts=mounts,
        egress=reach_of(shape).name,
        instance=instance,
        restart_policy="Never",
        subdomain=name if needs_rendezvous(shape) else "",
        grace_seconds=shape.grace_seconds,
        init_containers=(copy_container(images, options),) if shape.image else (),
    )


def _ray_env(shape: JobShape) -> list[dict[str, Any]]:
    """What tells the pods of a Job from those of an earlier one of its name, for ``ray_launcher``."""
    if shape.ray is None or shape.ray.kuberay:
        return []
    paths = {
        "SAFETY_RUN": "metadata.labels['batch.kubernetes.io/controller-uid']",
        "SAFETY_POD_IP": "status.podIP",
    }
    return [
        {"name": key, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for key, path in paths.items()
    ]


def needs_rendezvous(shape: JobShape) -> bool:
    """Whether there are several pods that talk to each other."""
    return shape.meets and shape.completions > 1 and run_kind(shape) == "Job"


def _rendezvous_env(owner: Owner, name: str, shape: JobShape) -> dict[str, str]:
    """Where the pods of several nodes meet: at node 0, by its name in the headless Service of the Job.

    Which node a pod is, Kubernetes says in JOB_COMPLETION_INDEX.
    """
    if not needs_rendezvous(shape):
        return {}
    return {
        "MASTER_ADDR": f"{name}-0.{name}.{owner.namespace}.svc",
        "MASTER_PORT": str(RENDEZVOUS_PORT),
        "NNODES": str(shape.completions),
    }


def _input_mounts(shape: JobShape, store: str) -> tuple[Mount, ...]:
    maps = tuple(
        Mount(f"configmap-{index}", f"/inputs/configmap/{name}", {"configMap": {"name": name}})
        for index, name in enumerate(shape.config_maps)
    )
    claims = (Volume("pvc", name) for name in shape.claims)
    images = (Volume("oci", reference) for reference in shape.image_volumes)
    return maps + volume_mounts((*claims, *images), store if shape.artifacts else "")
