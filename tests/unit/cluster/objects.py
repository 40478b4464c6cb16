"""Small Kubernetes objects for the tests of this folder."""

from typing import Any

from safety_operator.state.keys import Key
from safety_operator.state.labels import LABEL_KIND, LABEL_MANAGED_BY, LABEL_NAME, MANAGED_BY

KEY = Key("SafetyEval", "team", "base")


def make_resource(
    name: str = "base", *, kind: str = "SafetyEval", version: int = 1, **more: Any
) -> dict[str, Any]:
    meta = {
        "namespace": "team",
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "generation": 1,
    }
    return {"kind": kind, "metadata": meta | more.pop("metadata", {}), "spec": {}, **more}


def make_child(
    name: str,
    *,
    owner: Key = KEY,
    uid: str = "uid-base",
    version: int = 1,
    labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    ours = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_KIND: owner.kind, LABEL_NAME: owner.name}
    return {
        "metadata": {
            "namespace": owner.namespace,
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "generation": 1,
            "labels": ours | (labels or {}),
            "ownerReferences": [{"kind": owner.kind, "name": owner.name, "uid": uid}],
        },
        "status": {},
    }


def make_pod(
    name: str, job: str, *, born: str = "2026-11-21T12:00:00Z", index: int | None = None, **status: Any
) -> dict[str, Any]:
    pod = make_child(name, uid=f"uid-{job}", labels={"batch.kubernetes.io/job-name": job})
    if index is not None:
        pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] = str(index)
    pod["metadata"]["creationTimestamp"] = born
    return pod | {"spec": {"containers": [{"name": "worker"}]}, "status": status}


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return {
        "phase": "Failed" if code else "Succeeded",
        "containerStatuses": [{"name": "worker", "state": state}],
    }


def waiting(reason: str, message: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": "worker", "state": state}]}
