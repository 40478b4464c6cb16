"""A small world that planners can act on: it carries plans out and lets pods do as a test says.

What a real cluster would add to objects (generations, statuses of Jobs and Deployments) is added here, so
that stories of several steps can be told without one. Used by all tests of this folder.
"""

import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from safety_cli.simulation import SimulatedResource, make_ready
from safety_operator.planning.dispatch import needs, plan
from safety_operator.planning.engine.cycles import find_cycle
from safety_operator.state.keys import OPTIONAL_KINDS, RUN_KINDS, Key, ObjectKey
from safety_operator.state.labels import ANNOTATION_HASH, ANNOTATION_SPEC, LABEL_ROLE
from safety_operator.state.observed import EndedPods, Held, Observed, Outside, PodFailure
from safety_operator.state.plan import Event, Plan
from safety_operator.state.reading import format_time
from safety_operator.state.settings import Images, PlanSettings
from safety_records.progress import Progress
from safety_records.result import Artifact, FailureClass, StageFailure, StageResult

IMAGES = Images("worker:1", "server:1", "guardrails:1", worker_gpu="worker-gpu:1", server_gpu="server-gpu:1")
SETTINGS = PlanSettings(images=IMAGES, device="cpu")
START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MAX_ROUNDS = 20
"""Plans until a world has to be quiet; more means that planner and world chase each other."""


def digest_of(text: str) -> str:
    """A digest that shows what it is of."""
    return "sha256:" + text.encode().hex().ljust(64, "0")[:64]


@dataclass
class World(SimulatedResource):
    settings: PlanSettings = SETTINGS
    now: datetime = START
    progress: dict[str, Progress] = field(default_factory=dict)
    failures: dict[str, PodFailure] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    leaving: dict[str, str] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    outside: Outside = field(default_factory=Outside)
    with_pods: frozenset[str] = frozenset()
    draining: frozenset[str] = frozenset()
    headless: frozenset[str] = frozenset()
    ended: dict[str, EndedPods] = field(default_factory=dict)
    optional: frozenset[str] = OPTIONAL_KINDS
    references: dict[Key, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)
    config_maps: dict[str, dict[str, Any]] = field(default_factory=dict)
    claims: dict[str, dict[str, Any]] = field(default_factory=lambda: {"safety-artifacts": {}})
    applied: dict[ObjectKey, dict[str, Any]] = field(default_factory=dict)
    """Everything that was ever applied, as it was the last time."""
    events: list[Event] = field(default_factory=list)
    """All that were told."""

    def __post_init__(self) -> None:
        meta = self.resource.setdefault("metadata", {})
        for key, value in (("namespace", "team"), ("uid", "0f9a8b7c-1111"), ("generation", 1)):
            meta.setdefault(key, value)

    def observe(self) -> Observed:
        """What gathering would find: only what the planner says it needs."""
        wanted = needs(self.resource, self.settings)
        return Observed(
            resource=copy.deepcopy(self.resource),
            children=copy.deepcopy(self.children),
            results=dict(self.results),
            progress=dict(self.progress),
            failures=dict(self.failures),
            held=dict(self.held),
            leaving=dict(self.leaving),
            waits=dict(self.waits),
            with_pods=self.with_pods,
            draining=self.draining,
            headless=self.headless,
            ended=dict(self.ended),
            optional=self.optional,
            references={key: self.references.get(key) for key in wanted.references},
            secrets={name: self.secrets.get(name) for name in wanted.secrets},
            withheld={name: why for name, why in self.withheld.items() if name in wanted.secrets},
            config_maps={name: self.config_maps.get(name) for name in wanted.config_maps},
            claims={name: self.claims.get(name) for name in wanted.claims},
            outside=self.outside,
            cycle=find_cycle(self.key, self._targets),
        )

    def _targets(self, key: Key) -> frozenset[Key]:
        found = self.resource if key == self.key else self.references.get(key)
        return needs(found).references if found else frozenset()

    def plan(self) -> Plan:
        return plan(self.observe(), self.settings, self.now)

    def carry_out(self, made: Plan) -> bool:
        """Apply, delete, write the status; whether anything changed."""
        for key in made.delete:
            self.failures.pop(key.name, None)
        for child in made.apply:
            manifest = dict(child.manifest)
            self.applied[ObjectKey(manifest["kind"], manifest["metadata"]["name"])] = manifest
        self.events += made.events
        return self.apply_plan(made, self.now)

    def settle(self) -> Plan:
        """Plan and carry out until nothing changes; gives the last plan."""
        for _ in range(MAX_ROUNDS):
            made = self.plan()
            if not self.carry_out(made):
                return made
        raise AssertionError("the planner never comes to rest")

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def edit(self, **spec: Any) -> None:
        """Change the spec, as kubectl would."""
        self.resource["spec"] = self.resource["spec"] | spec
        self.resource["metadata"]["generation"] += 1

    def job(self, stage: str) -> dict[str, Any]:
        """The newest unfinished Job or RayJob of a stage."""
        found = [
            child
            for key, child in self.children.items()
            if key.kind in RUN_KINDS
            and child["metadata"]["labels"][LABEL_ROLE] == stage
            and "conditions" not in child.get("status", {})
        ]
        assert found, f"no Job of stage {stage} runs; there are {sorted(self.children)}"
        return found[-1]

    def specification(self, stage: str) -> str:
        """What the newest unfinished Job of a stage is told, from the ConfigMap that its pods mount."""
        job = self.job(stage)
        (name,) = [
            volume["configMap"]["name"]
            for volume in job["spec"]["template"]["spec"]["volumes"]
            if volume["name"] == "specification"
        ]
        assert name == job["metadata"]["annotations"][ANNOTATION_SPEC]
        return str(self.children[ObjectKey("ConfigMap", name)]["data"]["spec.json"])

    def start(self, stage: str, **progress: Any) -> str:
        """The stage's pod runs."""
        job = self.job(stage)
        job["status"] = {"active": 1, "ready": 1}
        name = job["metadata"]["name"]
        if progress:
            self.progress[name] = Progress(stage=stage, **progress)
        return str(name)

    def succeed(self, stage: str, *, output: str | None = None, path: str = "", **result: Any) -> StageResult:
        """The stage's pod ends well. ``output`` is what its artifact's digest is made of."""
        job = self.job(stage)
        name, digest = job["metadata"]["name"], job["metadata"]["annotations"][ANNOTATION_HASH]
        uri = f"team/models/{(output or digest)[:12]}" if stage == "fetch" else f"out/{stage}-{digest[:8]}"
        record = StageResult(
            stage=stage,
            inputs_hash=digest,
            output=Artifact(uri=path or uri, digest=digest_of(output or f"{stage}-{digest[:8]}"), bytes=1),
            **result,
        )
        self.complete(job, record, self.now)
        self.progress.pop(name, None)
        return record

    def fail(self, stage: str, *, reason: str = "", message: str = "", input_: bool = False) -> None:
        """The stage's Job fails for good, with the worker's words if a reason is given."""
        job = self.job(stage)
        name, digest = job["metadata"]["name"], job["metadata"]["annotations"][ANNOTATION_HASH]
        job["status"] = {"failed": 1, "conditions": [self._condition("Failed", "BackoffLimitExceeded")]}
        self.progress.pop(name, None)
        if reason:
            class_ = FailureClass.INPUT if input_ else FailureClass.INFRASTRUCTURE
            failure = StageFailure(failure=class_, reason=reason, message=message)
            self.results[name] = StageResult(stage=stage, inputs_hash=digest, failure=failure)
        else:
            self.failures[name] = PodFailure(f"{name}-x1", "worker", 137, "OOMKilled", message or "Killed")

    def cannot_start(self, stage: str, reason: str, message: str) -> None:
        name = self.job(stage)["metadata"]["name"]
        self.failures[name] = PodFailure(f"{name}-x1", "worker", None, reason, message)

    def serve(self, role: str) -> None:
        """All pods of the role's Deployment are ready."""
        for child in self._deployments(role):
            make_ready(child)

    def crash(self, role: str, message: str, *, hung: bool = False) -> None:
        """The pods of the role's Deployment fail; hung: for longer than its deadline."""
        for child in self._deployments(role):
            name = child["metadata"]["name"]
            self.failures[name] = PodFailure(f"{name}-x1", "server", 1, "Error", message)
            status = "False" if hung else "True"
            child["status"] = {
                "observedGeneration": child["metadata"]["generation"],
                "conditions": [
                    {"type": "Progressing", "status": status, "reason": "ProgressDeadlineExceeded"}
                ],
            }

    def roll(self, role: str, **given: Any) -> None:
        """The role's Deployment is between two templates: ``old``, ``new`` pods, and ``ready`` of both.

        ``failure``: reason and message of a new pod; ``hung``: for longer than the deadline.
        """
        for child in self._deployments(role):
            name, old, new = child["metadata"]["name"], given.get("old", 1), given.get("new", 1)
            if "failure" in given:
                self.failures[name] = PodFailure(f"{name}-new", "server", *given["failure"])
            child["status"] = {
                "observedGeneration": child["metadata"]["generation"],
                "replicas": old + new,
                "updatedReplicas": new,
                "readyReplicas": given.get("ready", old),
                "conditions": [{"type": "Progressing", "status": str(not given.get("hung", False))}],
            }

    def _deployments(self, role: str) -> list[dict[str, Any]]:
        found = [
            child
            for key, child in self.children.items()
            if key.kind == "Deployment" and child["metadata"]["labels"][LABEL_ROLE] == role
        ]
        assert found, f"no Deployment of role {role}; there are {sorted(self.children)}"
        return found

    def _condition(self, type_: str, reason: str = "") -> dict[str, Any]:
        return {
            "type": type_,
            "status": "True",
            "reason": reason,
            "lastTransitionTime": format_time(self.now),
        }

    def condition(self, type_: str) -> dict[str, Any]:
        return next(item for item in self.status["conditions"] if item["type"] == type_)

    def stage(self, name: str) -> dict[str, Any]:
        return next(item for item in self.status["stages"] if item["name"] == name)

    def names(self, kind: str) -> list[str]:
        return sorted(key.name for key in self.children if key.kind == kind)

    def refer(self, kind: str, name: str, manifest: dict[str, Any]) -> None:
        """Another resource of the namespace."""
        manifest.setdefault("metadata", {}).setdefault("name", name)
        self.references[Key(kind, "team", name)] = manifest


def ready_conditions(generation: int, *types: str) -> list[dict[str, Any]]:
    """Conditions that are True for a generation."""
    return [
        {
            "type": type_,
            "status": "True",
            "reason": "Completed",
            "message": "",
            "observedGeneration": generation,
            "lastTransitionTime": format_time(START - timedelta(hours=1)),
        }
        for type_ in types
    ]
