"""How objects of the API server are named and written."""

from collections.abc import Mapping
from typing import Any, NamedTuple

Manifest = Mapping[str, Any]
"""A Kubernetes object as the API server speaks it."""


OPTIONAL_KINDS = frozenset({"RayJob", "HTTPRoute", "ScaledObject"})
"""Kinds of KubeRay, Gateway API and KEDA, which a cluster may not have."""
RUN_KINDS = ("Job", "RayJob")
"""Kinds of what carries out a stage. A RayJob is kept in the form of a Job (``cluster.ray_jobs``)."""


class Key(NamedTuple):
    """A resource of one of the four kinds."""

    kind: str
    namespace: str
    name: str


class ObjectKey(NamedTuple):
    """A namespaced object by kind and name; its namespace is the owner's."""

    kind: str
    name: str
