"""A model behind an OpenAI-compatible server, as a Deployment; the engine is one of ``runtimes``."""

from typing import Any

from safety_operator.children.deployment import (
    ANSWER_SECONDS,
    build_server_deployment,
    draining,
    http_probes,
    spread,
)
from safety_operator.children.pod import (
    ARTIFACTS_PATH,
    Mount,
    artifacts_mount,
    build_container,
    build_pod_template,
    shared_memory_mount,
)
from safety_operator.children.resources import ResourceSet, Wanted
from safety_operator.children.runtimes import RUNTIMES
from safety_operator.children.runtimes.runtime import ModelServer
from safety_operator.children.server_files import (
    CHECKED,
    DEVICE_ENV,
    DRAIN,
    IN_PLACE_ENV,
    MODEL_DIGEST_ENV,
    MODEL_FOLDER_ENV,
    START,
    files_map_name,
    files_mount,
)
from safety_operator.children.service import SERVER_PORT
from safety_operator.children.start_cache import cache_environment, cache_mount, cleaning_containers
from safety_operator.children.volumes import volume_mounts
from safety_operator.state.labels import ANNOTATION_FILES
from safety_records.in_place import volumes_in

CHECKING = ResourceSet(requests={"cpu": "100m", "memory": "64Mi"})
"""Files are read in pieces."""
QUEUED_SECONDS = 1_209_600
"""Two weeks: the deadline of a Deployment whose pods wait in a queue, which counts as no progress."""


def build_model_server(server: ModelServer) -> dict[str, Any]:
    """The Deployment of a model server."""
    startup = _startup_seconds(server)
    return build_server_deployment(
        server.owner,
        server.role,
        server.name,
        _for_people(server, _build_template(server)) if server.serves_people else _build_template(server),
        replicas=server.replicas,
        strategy=server.strategy,
        deadline_seconds=QUEUED_SECONDS if server.queue else startup + 300,
        annotations=server.annotations | {ANNOTATION_FILES: files_map_name(server.owner)},
        queue=server.queue,
    )


def _digest_environment(server: ModelServer) -> dict[str, str]:
    """What the start compares the model's files with."""
    if not server.digest:
        return {}
    folder = f"{ARTIFACTS_PATH}/{server.model_path}"
    return {MODEL_FOLDER_ENV: folder, MODEL_DIGEST_ENV: server.digest}


def _for_people(server: ModelServer, template: dict[str, Any]) -> dict[str, Any]:
    metrics = RUNTIMES[server.serving.runtime].metrics_path
    command = ["python3", DRAIN, str(SERVER_PORT), metrics, str(ANSWER_SECONDS)]
    return spread(draining(template, ANSWER_SECONDS, {"exec": {"command": command}}), server.name)


def _startup_seconds(server: ModelServer) -> int:
    default = RUNTIMES[server.serving.runtime].startup_seconds[server.device]
    return server.serving.startup_seconds or default


def _build_template(server: ModelServer) -> dict[str, Any]:
    runtime, device = RUNTIMES[server.serving.runtime], server.device
    volumes = volumes_in(server.model_path)
    mounts = (
        artifacts_mount(server.claim, read_only=True),
        files_mount(server.owner),
        shared_memory_mount(runtime.shared_memory[device]),
        *volume_mounts(volumes, server.claim),
        *cache_mount(server),
        *runtime.mounts(server),
    )
    gpus = runtime.gpus(server.serving) if device == "gpu" else 0
    wanted = Wanted(runtime.asks_for(device, gpus), server.serving.resources, gpus)
    resources = wanted.settle(server.options.resources)
    container = build_container(
        "server",
        server.image,
        pull_policy=server.images.pull_policy,
        resources=resources,
        options=server.options,
        mounts=mounts,
        command=("python3", START, runtime.module) if runtime.module else (),
        args=runtime.arguments(server),
        env={
            **runtime.environment(server, resources),
            **cache_environment(server, runtime),
            **({DEVICE_ENV: device, **_looked_at(server)} if runtime.module else {}),
        },
        secret_env=(*([server.api_key] if server.api_key else ()), *runtime.secrets(server)),
        ports={"http": SERVER_PORT},
        probes=http_probes(
            runtime.alive_path,
            startup_seconds=_startup_seconds(server),
            ready_path=runtime.ready_path,
        ),
    )
    if runtime.writes_anywhere:
        container["securityContext"] = container["securityContext"] | {"readOnlyRootFilesystem": False}
    template = build_pod_template(
        server.owner,
        server.role,
        container,
        options=server.options,
        images=server.images,
        mounts=mounts,
        instance=server.name,
        annotations=server.pod_annotations,
        init_containers=(*cleaning_containers(server), *_checking_containers(server, mounts)),
    )
    template["metadata"]["labels"] |= server.pod_labels
    return template


def _looked_at(server: ModelServer) -> dict[str, str]:
    """What says that the model's files are to be looked at before they are loaded."""
    folder = f"{ARTIFACTS_PATH}/{server.model_path}"
    in_place = {IN_PLACE_ENV: folder} if volumes_in(server.model_path) else {}
    return in_place | _digest_environment(server)


def _checking_containers(server: ModelServer, mounts: tuple[Mount, ...]) -> tuple[dict[str, Any], ...]:
    """What looks at them where the engine's image runs none of our code."""
    env = _looked_at(server)
    if not env or RUNTIMES[server.serving.runtime].module:
        return ()
    container = build_container(
        "check-model",
        server.images.worker,
        pull_policy=server.images.pull_policy,
        resources=CHECKING,
        options=server.options,
        mounts=tuple(mount for mount in mounts if mount.read_only),
        command=("python3", START, CHECKED),
        args=(),
        env=env,
    )
    return (container,)
