"""A fake API server: objects in a dictionary, with versions, and a list of the calls that came."""

import copy
from collections.abc import Sequence
from typing import Any

from safety_operator.cluster.kinds import ApiKind
from safety_operator.errors import ApiError, ApiUnreachableError, ConflictError, NotFoundError


class FakeCluster:
    """Only what the operator calls.

    ``refuse`` maps a kind to the error that writing it gives; ``away``: no call gets an answer.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.calls: list[str] = []
        self.refuse: dict[str, ApiError] = {}
        self.away = False
        self.handed_over: list[tuple[str, dict[str, Any]]] = []
        """What was applied in another name than the operator's."""
        self.refused_reads: dict[tuple[str, str], ApiError] = {}
        """By kind and verb."""
        self._version = 100

    def put(self, kind: str, obj: dict[str, Any]) -> dict[str, Any]:
        """Write as somebody else would."""
        self._version += 1
        stored = copy.deepcopy(obj)
        stored["metadata"]["resourceVersion"] = str(self._version)
        stored["metadata"].setdefault("uid", f"uid-{obj['metadata']['name']}")
        self.objects[kind, obj["metadata"]["name"]] = stored
        return copy.deepcopy(stored)

    async def get(self, kind: ApiKind, _: str, name: str, *, metadata_only: bool = False) -> dict[str, Any]:
        self._called(f"get {kind.kind}")
        found = self._find(kind, name)
        return {"metadata": found["metadata"]} if metadata_only else found

    async def list(
        self, kind: ApiKind, namespace: str, *, selector: str = "", newest: bool = False
    ) -> dict[str, Any]:
        self._called(f"list {kind.kind} {namespace}")
        if (kind.kind, "list") in self.refused_reads:
            raise self.refused_reads[kind.kind, "list"]
        label, _, value = selector.partition("=")
        found = [
            copy.deepcopy(obj)
            for (name, _), obj in self.objects.items()
            if name == kind.kind and obj["metadata"].get("labels", {}).get(label) == value
        ]
        return {"items": found}

    async def events(self, _: str, selector: str) -> Sequence[dict[str, Any]]:
        self._called(f"list Event {selector}")
        return []

    async def create(self, kind: ApiKind, _: str, manifest: dict[str, Any]) -> dict[str, Any]:
        self._write("create", kind)
        if (kind.kind, manifest["metadata"]["name"]) in self.objects:
            raise ConflictError(409, "AlreadyExists", "exists")
        return self.put(kind.kind, manifest)

    async def apply(
        self, kind: ApiKind, _: str, name: str, manifest: dict[str, Any], *, manager: str = ""
    ) -> dict[str, Any]:
        self._write("apply", kind)
        if manager:
            self.handed_over.append((name, manifest["spec"]))
            return self._find(kind, name)
        before = self.objects.get((kind.kind, name), {}).get("metadata", {})
        merged = copy.deepcopy(manifest)
        if kind.kind not in {"Service", "ConfigMap"}:
            merged["metadata"]["generation"] = before.get("generation", 0) + 1
        return self.put(kind.kind, merged)

    async def replace(self, kind: ApiKind, _: str, name: str, manifest: dict[str, Any]) -> dict[str, Any]:
        self._write("replace", kind)
        self._check_version(self._find(kind, name), manifest)
        return self.put(kind.kind, manifest)

    async def patch(
        self, kind: ApiKind, _: str, name: str, patch: dict[str, Any], subresource: str = ""
    ) -> dict[str, Any]:
        self._write(subresource or "patch", kind)
        found = self._find(kind, name)
        if subresource:
            merged = found.get("status", {}) | patch["status"]
            return self.put(kind.kind, found | {"status": {k: v for k, v in merged.items() if v is not None}})
        self._check_version(found, patch)
        found["metadata"] |= patch["metadata"]
        return self.put(kind.kind, found)

    async def delete(self, kind: ApiKind, _: str, name: str, *, uid: str) -> None:
        self._write("delete", kind)
        if self._find(kind, name)["metadata"]["uid"] != uid:
            raise ConflictError(409, "Conflict", "another uid")
        del self.objects[kind.kind, name]

    def _write(self, verb: str, kind: ApiKind) -> None:
        self._called(f"{verb} {kind.kind}")
        if kind.kind in self.refuse:
            raise self.refuse[kind.kind]

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if self.away:
            raise ApiUnreachableError("refused")

    def _check_version(self, found: dict[str, Any], written: dict[str, Any]) -> None:
        if written["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            raise ConflictError(409, "Conflict", "another version")

    def _find(self, kind: ApiKind, name: str) -> dict[str, Any]:
        if (kind.kind, name) not in self.objects:
            raise NotFoundError(404, "NotFound", name)
        return copy.deepcopy(self.objects[kind.kind, name])
