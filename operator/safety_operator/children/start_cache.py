"""The volume with what servers compile while they start: mount and variables (``safety_pod/start_cache.py``).

The artifact store stays read-only for servers. A server sees of the cache's claim the folder of its own
model, image and settings only, so that none can put code under another model. What goes through all folders
and deletes old ones is an init container of an image of the chart.
"""

from typing import Any

from safety_operator.children.metadata import canonical_hash
from safety_operator.children.pod import Mount, build_container
from safety_operator.children.resources import ResourceSet
from safety_operator.children.runtimes.runtime import ModelServer, Runtime
from safety_operator.children.server_files import CLEAN, files_mount
from safety_operator.children.service import SERVER_PORT

VOLUME = "start-cache"
SHARED = "/start-cache"
"""Where the claim's folder is mounted."""
ALL = "/start-caches"
"""Where what cleans has all folders."""
FOLDERS = "model-safety"
"""The folder of all of them on the claim."""
CLEANING = ResourceSet(requests={"cpu": "50m", "memory": "64Mi"})
LOCAL = "/tmp/start-cache"  # noqa: S108 - an emptyDir of the pod
"""Where the engine works."""
NOT_COMPILED_IN = {
    *("replicas", "resources", "placement", "start_cache", "startup_seconds"),
    *("update_strategy", "served_name"),
}
"""Fields of serving that change nothing of what is compiled."""


def cache_mount(server: ModelServer) -> tuple[Mount, ...]:
    """The volume's folder; none where the spec names no claim."""
    return (_mount(server, SHARED, f"{FOLDERS}/{_key(server)}"),) if server.serving.start_cache else ()


def cleaning_containers(server: ModelServer) -> tuple[dict[str, Any], ...]:
    """What runs before a server and deletes what none has started from for long; empty without a claim."""
    if server.serving.start_cache is None:
        return ()
    chart = server.images.server_on(server.device)
    container = build_container(
        "clean-start-cache",
        chart if server.image == chart else server.images.worker,
        pull_policy=server.images.pull_policy,
        resources=CLEANING,
        options=server.options,
        command=("python3", "-I", CLEAN),
        args=(ALL, _key(server)),
        env={},
        mounts=(files_mount(server.owner), _mount(server, ALL, FOLDERS)),
    )
    return (container,)


def _mount(server: ModelServer, path: str, folder: str) -> Mount:
    name = server.serving.start_cache.claim_name if server.serving.start_cache else ""
    claim = {"persistentVolumeClaim": {"claimName": name}}
    return Mount(VOLUME, path, claim, read_only=False, sub_path=folder)


def _key(server: ModelServer) -> str:
    settings = server.serving.model_dump(mode="json", exclude=NOT_COMPILED_IN, exclude_none=True)
    env = sorted([var.name, var.value] for var in server.options.env)
    return canonical_hash([server.model_path, server.image, server.device, settings, env])


def cache_environment(server: ModelServer, runtime: Runtime) -> dict[str, str]:
    """Variables of the engine and of what starts it; none where the spec names no claim."""
    if server.serving.start_cache is None:
        return {}
    return {
        **{name: f"{LOCAL}/{folder}" for name, folder in runtime.start_cache.items()},
        "SAFETY_START_CACHE": SHARED,
        "SAFETY_START_CACHE_LOCAL": LOCAL,
        "SAFETY_START_CACHE_READY": f"http://127.0.0.1:{SERVER_PORT}{runtime.ready_path}",
    }
