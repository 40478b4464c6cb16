"""A model behind an OpenAI-compatible server, as a Deployment; the engine is one of ``runtimes``."""

from typing import Any

from safety_operator.children.deployment import build_server_deployment, http_probes
from safety_operator.children.pod import (
    ARTIFACTS_PATH,
    artifacts_mount,
    build_container,
    build_pod_template,
    shared_memory_mount,
)
from safety_operator.children.resources import Wanted
from safety_operator.children.runtimes import RUNTIMES
from safety_operator.children.runtimes.runtime import ModelServer
from safety_operator.children.server_files import (
    DEVICE_ENV,
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

QUEUED_SECONDS = 1_209_600
"""Two weeks: the deadline of a Deployment whose pods wait in a queue, which counts as no progress."""


def build_model_server(server: ModelServer) -> dict[str, Any]:
    """The Deployment of a model server."""
    startup = _startup_seconds(server)
    return build_server_deployment(
        server.owner,
        server.role,
        server.name,
        _build_template(server),
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
    )
    gpus = runtime.gpus(server.serving) if device == "gpu" else 0
    wanted = Wanted(runtime.resources[device], server.serving.resources, gpus)
    resources = wanted.settle(server.options.resources)
    container = build_container(
        "server",
        server.image,
        pull_policy=server.images.pull_policy,
        resources=resources,
        options=server.options,
        mounts=mounts,
        command=("python3", START, runtime.module),
        args=runtime.arguments(server),
        env={
            **runtime.environment(server, resources),
            **cache_environment(server, runtime),
            DEVICE_ENV: device,
            **({IN_PLACE_ENV: f"{ARTIFACTS_PATH}/{server.model_path}"} if volumes else {}),
            **_digest_environment(server),
        },
        secret_env=(server.api_key,) if server.api_key else (),
        ports={"http": SERVER_PORT},
        probes=http_probes(
            runtime.alive_path,
            startup_seconds=_startup_seconds(server),
            ready_path=runtime.ready_path,
        ),
    )
    return build_pod_template(
        server.owner,
        server.role,
        container,
        options=server.options,
        images=server.images,
        mounts=mounts,
        instance=server.name,
        annotations=server.pod_annotations,
        init_containers=cleaning_containers(server),
    )
