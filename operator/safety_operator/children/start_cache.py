"""The volume with what servers compile while they start: mount and variables (``safety_pod/start_cache.py``).

The artifact store stays read-only for servers. A server sees of the cache's claim the folder of its own
model, image and settings only, so that none can put code under another model.
"""

from safety_operator.children.metadata import canonical_hash
from safety_operator.children.pod import Mount
from safety_operator.children.runtimes.runtime import ModelServer, Runtime
from safety_operator.children.service import SERVER_PORT

VOLUME = "start-cache"
SHARED = "/start-cache"
"""Where the claim's folder is mounted."""
LOCAL = "/tmp/start-cache"  # noqa: S108 - an emptyDir of the pod
"""Where the engine works."""
NOT_COMPILED_IN = {
    *("replicas", "resources", "placement", "start_cache", "startup_seconds"),
    *("update_strategy", "served_name"),
}
"""Fields of serving that change nothing of what is compiled."""


def cache_mount(server: ModelServer) -> tuple[Mount, ...]:
    """The volume's folder; none where the spec names no claim."""
    cache = server.serving.start_cache
    if cache is None:
        return ()
    settings = server.serving.model_dump(mode="json", exclude=NOT_COMPILED_IN, exclude_none=True)
    env = sorted([var.name, var.value] for var in server.options.env)
    key = canonical_hash([server.model_path, server.image, server.device, settings, env])
    claim = {"persistentVolumeClaim": {"claimName": cache.claim_name}}
    return (Mount(VOLUME, SHARED, claim, read_only=False, sub_path=f"model-safety/{key}"),)


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
