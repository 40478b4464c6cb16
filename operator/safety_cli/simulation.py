"""Plans carried out without a cluster: what an API server and its controllers would add to the objects.

Used by the dry run of ``kubectl safety render``, where all goes well, and by the tests of planning, which say
what happens.
"""

import copy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from safety_operator.state.keys import Key, ObjectKey
from safety_operator.state.plan import Child, Plan
from safety_operator.state.reading import format_time
from safety_records.result import StageResult

Object = dict[str, Any]


@dataclass
class SimulatedResource:
    """A resource, what was made for it, and what its pods left."""

    resource: Object
    children: dict[ObjectKey, Object] = field(default_factory=dict)
    results: dict[str, StageResult] = field(default_factory=dict)
    """Records of stages, by the name of the Job."""
    num_made: int = 0
    """Objects that were ever made: each has a UID of its own."""

    @property
    def key(self) -> Key:
        """The resource's."""
        meta = self.resource["metadata"]
        return Key(self.resource["kind"], meta["namespace"], meta["name"])

    @property
    def status(self) -> Object:
        """The resource's status; empty before the first plan."""
        found: Object = self.resource.get("status", {})
        return found

    def apply_plan(self, made: Plan, now: datetime) -> bool:
        """Apply, delete, write the status; whether anything changed."""
        changes = [self._apply(child, now) for child in made.apply]
        changes += [self.children.pop(key, None) is not None for key in made.delete]
        status = copy.deepcopy(dict(made.status))
        changes.append(status != self.status)
        self.resource["status"] = status
        return any(changes)

    def _apply(self, child: Child, now: datetime) -> bool:
        manifest = copy.deepcopy(dict(child.manifest))
        key = ObjectKey(manifest["kind"], manifest["metadata"]["name"])
        old = self.children.get(key)
        if old is not None:
            _keep_replicas(old, manifest)
        if old is not None and (child.create_only or _is_same(old, manifest)):
            return False
        if old is None:
            manifest["metadata"] |= {"uid": f"uid-{self.num_made}", "creationTimestamp": format_time(now)}
            self.num_made += 1
        else:
            manifest["metadata"] |= {name: old["metadata"][name] for name in ("uid", "creationTimestamp")}
            manifest |= {"status": old["status"]} if "status" in old else {}
        manifest["metadata"]["generation"] = old["metadata"]["generation"] + 1 if old else 1
        if key.kind == "HTTPRoute":
            take_route(manifest)
        self.children[key] = manifest
        return True

    def complete(self, job: Object, record: StageResult, now: datetime) -> None:
        """Let a Job succeed with a record."""
        condition = {
            "type": "Complete",
            "status": "True",
            "reason": "",
            "lastTransitionTime": format_time(now),
        }
        job["status"] = {"succeeded": 1, "conditions": [condition]}
        self.results[job["metadata"]["name"]] = record


def make_ready(deployment: Object) -> None:
    """Let all pods of a Deployment become ready."""
    replicas = deployment["spec"]["replicas"]
    counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas"), replicas)
    deployment["status"] = {"observedGeneration": deployment["metadata"]["generation"], **counts}


def take_route(route: Object) -> None:
    """Let all Gateways take an HTTPRoute as it is."""
    accepted = {
        "type": "Accepted",
        "status": "True",
        "reason": "Accepted",
        "message": "",
        "observedGeneration": route["metadata"]["generation"],
    }
    refs = route["spec"]["parentRefs"]
    route["status"] = {"parents": [{"parentRef": ref, "conditions": [accepted]} for ref in refs]}


def _keep_replicas(old: Object, manifest: Object) -> None:
    """An autoscaler decides on the number where the manifest does not."""
    if manifest["kind"] == "Deployment":
        manifest["spec"].setdefault("replicas", old["spec"].get("replicas", 1))


def _is_same(old: Object, manifest: Object) -> bool:
    return (
        old.get("spec") == manifest.get("spec")
        and old.get("data") == manifest.get("data")
        and old["metadata"].get("annotations") == manifest["metadata"].get("annotations")
    )
