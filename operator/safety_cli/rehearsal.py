"""Plays a cluster in which everything goes well, so that the operator's own planner shows all it would make.

Every Job succeeds, every server becomes ready, every evaluation passes. What only a run can tell (digests of
models and data, rows, scores) is a placeholder, and names that are made from it end differently in a cluster.
"""

import copy
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from safety_cli.stand_ins import ROWS, build_stand_in
from safety_operator.api import API_VERSION
from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.kinds import KIND_BY_NAME
from safety_operator.planning.dispatch import needs, plan
from safety_operator.planning.engine.cycles import find_cycle
from safety_operator.schema.rules import describe_mistakes, find_mistakes
from safety_operator.state.keys import Key, ObjectKey
from safety_operator.state.labels import ANNOTATION_HASH, LABEL_ROLE
from safety_operator.state.observed import Observed
from safety_operator.state.reading import items_of, value_at
from safety_operator.state.settings import PlanSettings
from safety_records.result import Artifact, Proof, StageResult

MAX_ROUNDS = 200
"""Steps until everything has come to rest; the longest table of stages needs a fraction of it."""
START = datetime(2000, 1, 1, tzinfo=UTC)
"""The rehearsal's time stands still, so that the same manifest renders the same."""
UID = "00000000-0000-0000-0000-000000000000"
"""Placeholder for the owner's UID, which the API server gives."""

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """An object that the operator would make."""

    owner: Key
    role: str
    manifest: Object
    temporary: bool = False
    """Whether the operator takes it away again in the course of the run."""


@dataclass
class Actor:
    """One resource and what was made for it."""

    key: Key
    resource: Object
    refused: str
    """What the API server would say against it; empty: nothing."""
    children: dict[ObjectKey, Object] = field(default_factory=dict)
    results: dict[str, StageResult] = field(default_factory=dict)
    made: dict[ObjectKey, Made] = field(default_factory=dict)


@dataclass
class Rehearsal:
    """All resources of the given manifests and their surroundings."""

    settings: PlanSettings
    actors: dict[Key, Actor] = field(default_factory=dict)
    config_maps: dict[tuple[str, str], Object] = field(default_factory=dict)
    assumed: set[tuple[str, str, str]] = field(default_factory=set)
    """Namespace, kind and name of Secrets and claims that have to exist."""
    assumed_finished: set[Key] = field(default_factory=set)
    """Resources that something stood in for."""
    given: set[tuple[str, str, str]] = field(default_factory=set)
    """The same for those that are among the manifests."""

    def add(self, manifest: Object, namespace: str) -> bool:
        """Put an object on the stage; whether it has a part there."""
        manifest = copy.deepcopy(manifest)
        meta = manifest["metadata"]
        home = meta.setdefault("namespace", namespace)
        kind, name = manifest["kind"], meta["name"]
        if manifest.get("apiVersion") == API_VERSION and kind in KIND_BY_NAME:
            meta |= {"uid": UID, "generation": 1}
            manifest.pop("status", None)
            refused = describe_mistakes(find_mistakes(manifest))
            self.actors[Key(kind, home, name)] = Actor(Key(kind, home, name), manifest, refused)
        elif kind == "ConfigMap" and manifest.get("apiVersion") == "v1":
            meta.setdefault("resourceVersion", "1")
            self.config_maps[home, name] = manifest
        elif kind in {"Secret", "PersistentVolumeClaim"} and manifest.get("apiVersion") == "v1":
            self.given.add((home, kind, name))
        else:
            return False
        return True

    def play(self) -> None:
        """Go on until nothing changes any more."""
        for _ in range(MAX_ROUNDS):
            accepted = [actor for actor in self.actors.values() if not actor.refused]
            if any(self._settle(actor) for actor in accepted):
                continue
            changed = [_go_on(actor) for actor in accepted]
            if not any(changed):
                return
        raise AssertionError("the planner never comes to rest")

    def made(self) -> list[Made]:
        """All that was made: by resource, in the order in which the kinds build on each other, as it came."""
        ranks = {name: rank for rank, name in enumerate(KIND_BY_NAME)}
        actors = sorted(self.actors.values(), key=lambda actor: ranks[actor.key.kind])
        return [item for actor in actors for item in actor.made.values()]

    def unfinished(self) -> dict[Key, str]:
        """Resources that got stuck, and on what."""
        return {
            key: actor.refused or str(_condition(actor, ConditionType.READY).get("message", ""))
            for key, actor in self.actors.items()
            if _condition(actor, ConditionType.READY).get("status") != "True"
        }

    def _settle(self, actor: Actor) -> bool:
        """One plan carried out; whether it changed anything."""
        made = plan(self._observe(actor), self.settings, START)
        changed = False
        for child in made.apply:
            changed |= _apply(actor, copy.deepcopy(dict(child.manifest)), create_only=child.create_only)
        for key in made.delete:
            changed |= actor.children.pop(key, None) is not None
            if key in actor.made:
                actor.made[key] = replace(actor.made[key], temporary=True)
        status = _passing(copy.deepcopy(dict(made.status)))
        changed |= status != actor.resource.get("status")
        actor.resource["status"] = status
        return changed

    def _observe(self, actor: Actor) -> Observed:
        wanted = needs(actor.resource, self.settings)
        home = actor.key.namespace
        assumed = [("Secret", name) for name in wanted.secrets]
        assumed += [("PersistentVolumeClaim", name) for name in wanted.claims]
        self.assumed |= {(home, kind, name) for kind, name in assumed} - self.given
        return Observed(
            resource=copy.deepcopy(actor.resource),
            children=copy.deepcopy(actor.children),
            results=dict(actor.results),
            references={key: self._referred(key, actor) for key in wanted.references},
            secrets=dict.fromkeys(wanted.secrets, "1"),
            config_maps={name: self.config_maps.get((home, name)) for name in wanted.config_maps},
            claims={name: {"metadata": {"name": name}} for name in wanted.claims},
            cycle=find_cycle(actor.key, self._targets),
        )

    def _targets(self, key: Key) -> frozenset[Key]:
        """What a resource of the manifests refers to."""
        actor = self.actors.get(key)
        return needs(actor.resource, self.settings).references if actor else frozenset()

    def _referred(self, key: Key, actor: Actor) -> Object | None:
        """Another resource: of the manifests, or a finished one in its place."""
        if key in self.actors:
            return copy.deepcopy(self.actors[key].resource)
        named = value_at(actor.resource, "spec", "artifacts", "claimName", default="")
        made = build_stand_in(key, actor.resource, str(named) or self.settings.artifacts_claim)
        if made is not None:
            self.assumed_finished.add(key)
        return made


def _apply(actor: Actor, manifest: Object, *, create_only: bool) -> bool:
    key = ObjectKey(manifest["kind"], manifest["metadata"]["name"])
    old = actor.children.get(key)
    shown = actor.made.get(key)
    if old is not None and (create_only or (shown is not None and shown.manifest == manifest)):
        return False
    role = str(value_at(manifest, "metadata", "labels", LABEL_ROLE, default=""))
    actor.made[key] = Made(actor.key, role, manifest)
    live = copy.deepcopy(manifest)
    live["metadata"] |= {"uid": f"{UID[:-4]}{len(actor.children):04}", "generation": 1}
    if old is not None and "status" in old:
        live["status"] = old["status"]
    actor.children[key] = live
    return True


def _go_on(actor: Actor) -> bool:
    """Let servers become ready, and, once all are, Jobs succeed; whether anything happened."""
    return _serve(actor.children.values()) or _succeed(actor)


def _serve(children: Iterable[Object]) -> bool:
    changed = False
    for child in children:
        if child["kind"] == "Deployment" and "status" not in child:
            replicas = value_at(child, "spec", "replicas", default=1)
            counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas"), replicas)
            child["status"] = {"observedGeneration": 1, **counts}
            changed = True
    return changed


def _succeed(actor: Actor) -> bool:
    changed = False
    for child in actor.children.values():
        if child["kind"] != "Job" or "status" in child:
            continue
        condition = {"type": "Complete", "status": "True", "lastTransitionTime": "2000-01-01T00:00:00Z"}
        child["status"] = {"succeeded": 1, "conditions": [condition]}
        actor.results[child["metadata"]["name"]] = _result(actor.key, child)
        changed = True
    return changed


def _result(owner: Key, job: Object) -> StageResult:
    """The record that a worker would have left."""
    stage = job["metadata"]["labels"][LABEL_ROLE]
    digest = job["metadata"]["annotations"][ANNOTATION_HASH]
    content = hashlib.sha256(f"{stage} {digest}".encode()).hexdigest()
    folder = f"{owner.namespace}/{owner.kind.lower()}/{owner.name}/{stage}-{content[:12]}"
    proof = Proof(unsafe_blocked=1, unsafe_total=1, benign_answered=1, benign_total=1, bypass_closed=True)
    return StageResult(
        stage=stage,
        inputs_hash=digest,
        output=Artifact(uri=folder, digest=f"sha256:{content}", bytes=1),
        train_rows=ROWS,
        validation_rows=ROWS // 10,
        proof=proof,
    )


def _passing(status: Mapping[str, Any]) -> dict[str, Any]:
    """The status of an evaluation that passed, once it is finished: there are no scores to decide by."""
    changed = dict(status)
    changed["conditions"] = [
        {**item, "status": "True", "reason": Reason.THRESHOLDS_MET.value}
        if item.get("type") == ConditionType.SAFETY_PASSED and status.get("state") == "Succeeded"
        else item
        for item in items_of(status.get("conditions"))
    ]
    return changed


def _condition(actor: Actor, kind: str) -> Mapping[str, Any]:
    found = items_of(value_at(actor.resource, "status", "conditions"))
    return next((item for item in found if item.get("type") == kind), {})
