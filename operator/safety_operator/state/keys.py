"""How objects of the API server are named and written."""

from collections.abc import Mapping
from typing import Any, NamedTuple

Manifest = Mapping[str, Any]
"""A Kubernetes object as the API server speaks it."""


class Key(NamedTuple):
    """A resource of one of the four kinds."""

    kind: str
    namespace: str
    name: str


class ObjectKey(NamedTuple):
    """A namespaced object by kind and name; its namespace is the owner's."""

    kind: str
    name: str
