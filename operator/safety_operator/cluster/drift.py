"""Whether a child still is what it should be, decided without a request.

What this process wrote is remembered: the same version is right, and so is the same generation with the
metadata that is wanted. Anything else is applied again, which costs nothing where nothing is wrong. After a
restart nothing is remembered: then a child is right when it has every wanted field, so that a thousand idle
resources do not cost a thousand requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safety_operator.cluster.client import JsonObject
from safety_operator.state.keys import Manifest
from safety_operator.state.labels import ANNOTATION_HASH

GUARDING = frozenset({"NetworkPolicy"})
"""Kinds for which a field too many is as bad as a missing one: always applied once after a restart."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What an object looked like when it was known to be right."""

    uid: str
    version: str
    generation: int | None
    """None for kinds without one, such as Services."""
    wanted: str
    """Hash of the manifest that it was right for."""


def mark_of(live: JsonObject, manifest: Manifest) -> Mark:
    """Describe a live object that is right for ``manifest``."""
    meta = live["metadata"]
    return Mark(meta["uid"], meta["resourceVersion"], meta.get("generation"), wanted_hash(manifest))


def wanted_hash(manifest: Manifest) -> str:
    """Give the hash that the builder put on a manifest; empty where it put none."""
    return str((manifest["metadata"].get("annotations") or {}).get(ANNOTATION_HASH, ""))


def is_current(manifest: Manifest, live: JsonObject | None, mark: Mark | None) -> bool:
    """Whether the live object needs no apply."""
    if live is None:
        return False
    now = mark_of(live, manifest)
    if now == mark:
        return True
    if now.wanted and wanted_hash(live) != now.wanted:
        return False
    if not is_subset(manifest["metadata"], live["metadata"]):
        return False
    if mark is not None:
        same = (mark.uid, mark.generation, mark.wanted) == (now.uid, now.generation, now.wanted)
        return same and now.generation is not None
    return manifest["kind"] not in GUARDING and is_subset(manifest, live)


def is_subset(wanted: Any, live: Any) -> bool:
    """Whether every field of ``wanted`` is in ``live``; lists must match item by item.

    The API server drops empty values, so a missing field is as good as an empty one.
    """
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            is_subset(v, live[k]) if k in live else not v for k, v in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        return (
            isinstance(live, list)
            and len(wanted) == len(live)
            and all(is_subset(w, have) for w, have in zip(wanted, live, strict=True))
        )
    return bool(wanted == live)
