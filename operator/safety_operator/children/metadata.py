"""Names, labels, owner references and hashes of children. Used by every builder and by the planners."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from safety_operator.api import API_VERSION
from safety_operator.state.keys import Manifest
from safety_operator.state.labels import (
    ANNOTATION_HASH,
    LABEL_KIND,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    LABEL_ROLE,
    MANAGED_BY,
)

HASH_LENGTH = 40
"""Hexadecimal digits of a hash: 160 bits, and short enough for labels and status fields."""
LABEL_LENGTH = 63
"""Characters of a DNS label (RFC 1123), the longest name that a Service or a Job's pods may have."""
OWNER_LENGTH = 40
"""Characters of the owner's name that go into a child's, or fewer where the role is long."""
NAME_HASH_LENGTH = 8
"""Digits of a hash that go into a child's name."""
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
"""What a Service may be called (RFC 1035); names of resources may also have dots and start with a digit."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns a child: one resource of the four kinds."""

    kind: str
    name: str
    namespace: str
    uid: str


def owner_of(resource: Manifest) -> Owner:
    """The owner that a resource is; absent metadata gives empty strings."""
    meta = resource.get("metadata") or {}
    return Owner(
        kind=str(resource.get("kind", "")),
        name=str(meta.get("name", "")),
        namespace=str(meta.get("namespace", "")),
        uid=str(meta.get("uid", "")),
    )


def canonical_hash(value: Any) -> str:
    """Hash of a JSON value; equal for equal values, whatever the order of their keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_LENGTH]


def child_name(owner: Owner, role: str, digest: str, *, longest: int = LABEL_LENGTH) -> str:
    """``<owner>-<role>-<hash8>``, valid also for a Service, whose name is a label that starts with a letter.

    Kind and name are hashed too: resources of two kinds may share a name, and long names are cut.
    """
    room = min(OWNER_LENGTH, longest - len(f"-{role}-") - NAME_HASH_LENGTH)
    stem = owner.name[:room].rstrip("-.").replace(".", "-")
    if not stem[:1].isalpha():
        stem = f"x{stem[: room - 1]}"
    return f"{stem}-{role}-{canonical_hash([owner.kind, owner.name, digest])[:NAME_HASH_LENGTH]}"


def own_service_name(owner: Owner, role: str) -> str:
    """The owner's name, or :func:`child_name` where no Service may be called so."""
    fits = len(owner.name) <= LABEL_LENGTH and SERVICE_NAME.fullmatch(owner.name)
    return owner.name if fits else child_name(owner, role, "")


def child_labels(owner: Owner, role: str) -> dict[str, str]:
    """Labels of a child and of its pods."""
    return {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_KIND: owner.kind,
        LABEL_NAME: owner.name,
        LABEL_ROLE: role,
    }


def owner_reference(owner: Owner) -> dict[str, Any]:
    """What makes the owner the controller of a child."""
    return {
        "apiVersion": API_VERSION,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def child_metadata(
    owner: Owner,
    role: str,
    name: str,
    *,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Metadata of a child. Nothing of the owner's own labels or annotations is copied."""
    meta: dict[str, Any] = {
        "name": name,
        "namespace": owner.namespace,
        "labels": (labels or {}) | child_labels(owner, role),
        "ownerReferences": [owner_reference(owner)],
    }
    if annotations:
        meta["annotations"] = dict(annotations)
    return meta


def with_hash(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest, annotated with the hash of itself."""
    meta = manifest["metadata"]
    annotations = (meta.get("annotations") or {}) | {ANNOTATION_HASH: canonical_hash(manifest)}
    return manifest | {"metadata": meta | {"annotations": annotations}}
