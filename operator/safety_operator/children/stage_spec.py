"""The specification of a stage: an immutable ConfigMap that the stage's pods mount.

An environment variable holds 128 KiB at most, and a pod with a larger one never starts. The name follows the
content, so that tries with the same content share one, and none is ever changed. What no Job names any more
is taken away (``planning.engine.config_maps``).
"""

from typing import Any

from safety_operator.children.metadata import Owner, canonical_hash, child_metadata, child_name, with_hash
from safety_operator.children.pod import Mount

SPEC_ROLE = "specification"
"""Role of these ConfigMaps."""
SPEC_KEY = "spec.json"
SPEC_FOLDER = "/specification"
SPEC_FILE = f"{SPEC_FOLDER}/{SPEC_KEY}"
"""Where a worker reads it."""
MAX_SPEC_BYTES = 1_000_000
"""Bytes of UTF-8. A ConfigMap holds 1,048,576, and the API server takes requests of 3 MiB, in which a
character of two bytes takes six."""


def spec_map_name(owner: Owner, stage: str, text: str) -> str:
    """Name of the ConfigMap that holds a specification."""
    return child_name(owner, stage, canonical_hash(text))


def spec_mount(name: str) -> Mount:
    """The ConfigMap of a specification in a pod."""
    return Mount("specification", SPEC_FOLDER, {"configMap": {"name": name}})


def build_spec_map(owner: Owner, stage: str, text: str) -> dict[str, Any]:
    """The ConfigMap of a specification."""
    name = spec_map_name(owner, stage, text)
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": child_metadata(owner, SPEC_ROLE, name),
        "immutable": True,
        "data": {SPEC_KEY: text},
    }
    return with_hash(manifest)
