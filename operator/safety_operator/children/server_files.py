"""The files that a model server's pod mounts, whatever its image: the start with its check, and middleware.

A ConfigMap of the sources of ``safety_pod``. Its name follows the content, so that an update of the operator
gives new pods new files and leaves old pods theirs.
"""

from functools import cache
from importlib import resources
from typing import Any

from safety_operator.children.metadata import Owner, canonical_hash, child_metadata, child_name, with_hash
from safety_operator.children.pod import Mount

FILES_ROLE = "server-files"
"""Role of these ConfigMaps."""
PACKAGE = "safety_pod"
FOLDER = "/model-safety"
"""Where the package is mounted."""
START = f"{FOLDER}/{PACKAGE}/serve.py"
"""Runs a module as ``python3 -m`` does, once its device is there."""
DEVICE_ENV = "SAFETY_SERVER_DEVICE"
"""What tells it which device that is: cpu or gpu."""
IN_PLACE_ENV = "SAFETY_SERVER_IN_PLACE"
"""What tells it where a model is that stays on the volume that it came from."""
MODEL_FOLDER_ENV = "SAFETY_MODEL_FOLDER"
MODEL_DIGEST_ENV = "SAFETY_MODEL_DIGEST"
"""What tell it where the model's files are and which digest they have to have."""
CLOSED_PATHS = f"{PACKAGE}.closed_paths.ClosedPaths"
"""ASGI middleware: an engine's API key leaves paths open, such as vLLM's /invocations, which generates."""
CLEAN = f"{FOLDER}/{PACKAGE}/start_cache_cleaning.py"
"""Deletes what no server has started from for long."""
DRAIN = f"{FOLDER}/{PACKAGE}/drain.py"
"""Waits for the answers that are being written."""
CHECKED = f"{PACKAGE}.checked"
"""Module that does nothing, for a pod that only looks at the model."""
FILES = (
    *("__init__.py", "checked.py", "closed_paths.py", "cuda.py", "drain.py", "in_place.py"),
    *("model_digest.py", "processor.py", "serve.py"),
    *("start_cache.py", "start_cache_cleaning.py"),
)


@cache
def read_sources() -> dict[str, str]:
    """Names and texts of the files."""
    folder = resources.files(PACKAGE)
    return {name: folder.joinpath(name).read_text(encoding="utf-8") for name in FILES}


def files_map_name(owner: Owner) -> str:
    """Name of the ConfigMap of this version."""
    return child_name(owner, FILES_ROLE, canonical_hash(read_sources()))


def files_mount(owner: Owner) -> Mount:
    """The files in a pod."""
    items = [{"key": name, "path": f"{PACKAGE}/{name}"} for name in FILES]
    return Mount(FILES_ROLE, FOLDER, {"configMap": {"name": files_map_name(owner), "items": items}})


def build_files_map(owner: Owner) -> dict[str, Any]:
    """The ConfigMap of this version."""
    return with_hash(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": child_metadata(owner, FILES_ROLE, files_map_name(owner)),
            "immutable": True,
            "data": dict(read_sources()),
        }
    )
