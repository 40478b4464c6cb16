"""Carries plans out as if everything went well, so that the operator's own planner shows all it would make.

Every Job succeeds, every server becomes ready, every evaluation passes. What only a run can tell (digests of
models and data, rows, scores) is a placeholder, and names that are made from it end differently in a cluster.
"""

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from safety_cli.assumed import ROWS, build_assumed
from safety_cli.simulation import Object, SimulatedResource, make_ready
from safety_operator.api import API_VERSION
from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.kinds import KIND_BY_NAME
from safety_operator.children.stage_spec import SPEC_KEY
from safety_operator.planning.dispatch import needs, plan
from safety_operator.planning.engine.cycles import find_cycle
from safety_operator.schema.rules import find_mistakes
from safety_operator.state.keys import OPTIONAL_KINDS, RUN_KINDS, Key, ObjectKey
from safety_operator.state.labels import ANNOTATION_HASH, ANNOTATION_SPEC, LABEL_ROLE
from safety_operator.state.observed import Observed
from safety_operator.state.plan import Plan
from safety_operator.state.reading import condition_of, items_of, value_at
from safety_operator.state.settings import PlanSettings
from safety_records.in_place import in_place_path, stays_in_place
from safety_records.result import Artifact, Proof, StageResult

MAX_ROUNDS = 200
"""Steps until everything has come to rest; the longest table of stages needs a fraction of it."""
START = datetime(2000, 1, 1, tzinfo=UTC)
"""Time stands still, so that the same manifest renders the same."""
UID = "00000000-0000-0000-0000-000000000000"
"""Placeholder for the owner's UID, which the API server gives."""


@dataclass(frozen=True, slots=True)
class Made:
    """An object that the operator would make."""

    owner: Key
    role: str
    manifest: Object
    temporary: bool = False
    """Whether the operator takes it away again in the course of the run."""


@dataclass
class ResourceState(SimulatedResource):
    """One resource of the manifests."""

    made: dict[ObjectKey, Made] = field(default_factory=dict)

    def remember(self, plan: Plan) -> None:
        """Note what a plan makes, and takes away again."""
        for child in plan.apply:
            manifest = copy.deepcopy(dict(child.manifest))
            key = ObjectKey(manifest["kind"], manifest["metadata"]["name"])
            if not child.create_only or key not in self.children:
                role = str(value_at(manifest, "metadata", "labels", LABEL_ROLE, default=""))
                self.made[key] = Made(self.key, role, manifest)
        for key in plan.delete:
            if key in self.made:
                self.made[key] = replace(self.made[key], temporary=True)


@dataclass
class DryRun:
    """All resources of the given manifests and their surroundings."""

    settings: PlanSettings
    states: dict[Key, ResourceState] = field(default_factory=dict)
    config_maps: dict[tuple[str, str], Object] = field(default_factory=dict)
    assumed: set[tuple[str, str, str]] = field(default_factory=set)
    """Namespace, kind and name of Secrets and claims that have to exist."""
    assumed_finished: set[Key] = field(default_factory=set)
    """Resources that something stood in for."""
    given: set[tuple[str, str, str]] = field(default_factory=set)
    """The same for those that are among the manifests."""
    refused: dict[Key, list[str]] = field(default_factory=dict)
    """What the API server would say against resources."""

    def add(self, manifest: Object, namespace: str) -> bool:
        """Take an object in; whether it matters to the operator."""
        manifest = copy.deepcopy(manifest)
        meta = manifest["metadata"]
        namespace = meta["namespace"] = meta.get("namespace") or namespace
        kind, name = manifest["kind"], meta["name"]
        group = str(manifest.get("apiVersion")).partition("/")[0]
        if group == API_VERSION.partition("/")[0]:
            self._add_resource(manifest, Key(kind, namespace, name))
        elif kind == "ConfigMap" and manifest.get("apiVersion") == "v1":
            meta.setdefault("resourceVersion", "1")
            self.config_maps[namespace, name] = manifest
        elif kind in {"Secret", "PersistentVolumeClaim"} and manifest.get("apiVersion") == "v1":
            self.given.add((namespace, kind, name))
        else:
            return False
        return True

    def _add_resource(self, manifest: Object, key: Key) -> None:
        version = manifest["apiVersion"]
        if version != API_VERSION or key.kind not in KIND_BY_NAME:
            kinds = ", ".join(KIND_BY_NAME)
            self.refused[key] = [f"there is no such kind in {version}: {API_VERSION} has {kinds}"]
            return
        manifest["metadata"] |= {"uid": UID, "generation": 1}
        manifest.pop("status", None)
        self.states[key] = ResourceState(manifest)
        if mistakes := find_mistakes(manifest):
            self.refused[key] = [": ".join(filter(None, mistake)) for mistake in mistakes]

    def run_to_end(self) -> None:
        """Go on until nothing changes any more."""
        accepted = [state for key, state in self.states.items() if key not in self.refused]
        for _ in range(MAX_ROUNDS):
            if any(self._settle(state) for state in accepted):
                continue
            changed = [_go_on(state) for state in accepted]
            if not any(changed):
                return
        raise AssertionError("the planner never comes to rest")

    def made(self) -> list[Made]:
        """All that was made: by resource, in the order in which the kinds build on each other, as it came."""
        ranks = {name: rank for rank, name in enumerate(KIND_BY_NAME)}
        states = sorted(self.states.values(), key=lambda state: ranks[state.key.kind])
        return [item for state in states for item in state.made.values()]

    def unfinished(self) -> dict[Key, Mapping[str, Any]]:
        """Condition Ready of resources that are right and did not come to their end."""
        found = {key: condition_of(state.resource, ConditionType.READY) for key, state in self.states.items()}
        return {
            key: ready
            for key, ready in found.items()
            if key not in self.refused and ready.get("status") != "True"
        }

    def _settle(self, state: ResourceState) -> bool:
        """One plan carried out; whether it changed anything."""
        made = plan(self._observe(state), self.settings, START)
        made = replace(made, status=_passing(made.status))
        state.remember(made)
        return state.apply_plan(made, START)

    def _observe(self, state: ResourceState) -> Observed:
        wanted = needs(state.resource, self.settings)
        namespace = state.key.namespace
        assumed = [("Secret", name) for name in wanted.secrets]
        assumed += [("PersistentVolumeClaim", name) for name in wanted.claims]
        self.assumed |= {(namespace, kind, name) for kind, name in assumed} - self.given
        return Observed(
            resource=state.resource,
            children=state.children,
            results=state.results,
            references={key: self._referred(key, state) for key in wanted.references},
            secrets=dict.fromkeys(wanted.secrets, "1"),
            config_maps={name: self.config_maps.get((namespace, name)) for name in wanted.config_maps},
            claims={name: {"metadata": {"name": name}} for name in wanted.claims},
            cycle=find_cycle(state.key, self._targets),
            optional=OPTIONAL_KINDS,
        )

    def _targets(self, key: Key) -> frozenset[Key]:
        """What a resource of the manifests refers to."""
        state = self.states.get(key)
        return needs(state.resource, self.settings).references if state else frozenset()

    def _referred(self, key: Key, state: ResourceState) -> Object | None:
        """Another resource: of the manifests, or a finished one in its place."""
        if key in self.states:
            return self.states[key].resource
        named = value_at(state.resource, "spec", "artifacts", "claimName", default="")
        made = build_assumed(key, state.resource, str(named) or self.settings.artifacts_claim)
        if made is not None:
            self.assumed_finished.add(key)
        return made


def _go_on(state: ResourceState) -> bool:
    """Let servers become ready, and, once all are, Jobs succeed; whether anything happened."""
    waiting = [child for child in state.children.values() if "status" not in child]
    servers = [child for child in waiting if child["kind"] == "Deployment"]
    jobs = [] if servers else [child for child in waiting if child["kind"] in RUN_KINDS]
    for server in servers:
        make_ready(server)
    for job in jobs:
        state.complete(job, _result(state, job), START)
    return bool(servers or jobs)


def _result(state: ResourceState, job: Object) -> StageResult:
    """The record that a worker would have left."""
    owner = state.key
    stage = job["metadata"]["labels"][LABEL_ROLE]
    digest = job["metadata"]["annotations"][ANNOTATION_HASH]
    content = hashlib.sha256(f"{stage} {digest}".encode()).hexdigest()
    folder = f"{owner.namespace}/{owner.kind.lower()}/{owner.name}/{stage}-{content[:12]}"
    uri = _model_uri(state, job)
    if stays_in_place(uri):
        folder = in_place_path(f"{owner.namespace}/models", uri, f"sha256:{content}")
    proof = Proof(unsafe_blocked=1, unsafe_total=1, benign_answered=1, benign_total=1, bypass_closed=True)
    return StageResult(
        stage=stage,
        inputs_hash=digest,
        output=Artifact(uri=folder, digest=f"sha256:{content}", bytes=1),
        train_rows=ROWS,
        validation_rows=ROWS // 10,
        proof=proof,
    )


def _model_uri(state: ResourceState, job: Object) -> str:
    """Where a stage fetches a model from; empty for any other stage."""
    name = job["metadata"]["annotations"][ANNOTATION_SPEC]
    maps = (child for child in state.children.values() if child["metadata"]["name"] == name)
    spec = json.loads(next(maps)["data"][SPEC_KEY])
    return str(spec["uri"]) if spec["stage"] == "fetch" else ""


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
