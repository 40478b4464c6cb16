"""The engine of a run: a fixed table of stages, each with what it depends on.

A stage is done if its record with the wanted hash is in the status, or in what its Job left. Everything that
may run runs at the same time; temporary servers live as long as a stage wants them. Used by all kinds; each
kind's module holds its table. Left out: what one stage's Job does (``stage_jobs``), servers (``servers``).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import ValidationError

from safety_operator.api.conditions import CommonStatus, Reason, StageStatus
from safety_operator.api.pods import PodRole
from safety_operator.api.run import RunSpec
from safety_operator.api.schedule import ScoresRef
from safety_operator.children.metadata import Owner, owner_of
from safety_operator.children.network_policy import NOWHERE, Reach, build_stage_policy
from safety_operator.children.pod import ARTIFACTS_ROOT
from safety_operator.children.pod_options import EffectiveOptions, effective_options
from safety_operator.children.runtimes.runtime import ModelServer
from safety_operator.children.worker_job import JobShape
from safety_operator.planning.engine.problems import Problem, UnmetRuleError, attempt
from safety_operator.planning.engine.references import (
    Inputs,
    Reference,
    check_claim,
    check_reference,
    find_inputs,
)
from safety_operator.state.keys import RUN_KINDS, ObjectKey
from safety_operator.state.labels import LABEL_ROLE
from safety_operator.state.observed import Observed
from safety_operator.state.plan import Child
from safety_operator.state.reading import value_at
from safety_operator.state.settings import PlanSettings
from safety_records.result import Artifact, StageResult
from safety_records.stage_base import StageBase

S = TypeVar("S", bound=RunSpec)


@dataclass(frozen=True, slots=True)
class Skipped:
    """The stage has nothing to do under this spec."""

    reason: str


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage asks of a pod."""

    spec: StageBase
    """Complete but for ``inputs_hash`` and ``out``, which the engine fills in."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What stands in the hash instead of a field that holds a path of this run: the digest of its content.
    Names that are no field of the specification are added to the hash."""
    shape: JobShape = field(default_factory=JobShape)
    server: ModelServer | None = None
    """Server that must be ready before the pod starts."""
    more_servers: tuple[ModelServer, ...] = ()
    """Further ones."""
    outside: bool = False
    """Whether it reads what the operator cannot watch, so that a failed input is tried again later."""
    join: bool = False
    """Whether a Job is only followed and none is made: the pod of a stage that it follows has not started."""


Decision = Work | Skipped
"""What a stage comes to; one that cannot be decided yet raises Blocked."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """Which run of a schedule this is."""

    time: str = ""
    """The time that it was started for, part of every stage's hash; empty: the first run."""
    previous: ScoresRef | None = None
    """The scores of the run before it."""


@dataclass(frozen=True, slots=True)
class Run(Generic[S]):
    """A resource with all that its stages may know."""

    spec: S
    observed: Observed
    settings: PlanSettings
    now: datetime
    results: Mapping[str, StageResult] = field(default_factory=dict)
    """Records of the stages that are done."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """Inputs hashes of the stages that are done or running."""
    repetition: Repetition = Repetition()
    references: tuple[Reference, ...] = ()
    """All that the spec names."""
    before: CommonStatus = field(default_factory=CommonStatus)
    """The status as it was written last, as the model of its kind."""

    def inputs(self, stage: str) -> Inputs:
        """What a stage reads besides other stages' output. Raises Blocked where any of it is missing."""
        return find_inputs(self.observed, (item for item in self.references if stage in item.stages))

    def check_references(self) -> None:
        """Raises Blocked for the first thing that the spec names for any stage and that is not there."""
        for item in self.references:
            check_reference(self.observed, item)

    def check_store(self) -> None:
        """Raises Blocked where the claim of the artifact store does not exist."""
        check_claim(self.observed, self.claim, "spec.artifacts.claimName")

    @property
    def owner(self) -> Owner:
        """The resource as an owner of children."""
        return owner_of(self.observed.resource)

    @property
    def claim(self) -> str:
        """The claim that holds the artifact store."""
        return self.spec.artifacts.claim_name or self.settings.artifacts_claim

    @property
    def folder(self) -> str:
        """Where this resource keeps its results. A re-made resource of the same name starts afresh."""
        owner = self.owner
        return f"{owner.namespace}/{owner.kind.lower()}/{owner.name}/{owner.uid[:8] or 'run'}"

    def options(self, role: PodRole) -> EffectiveOptions:
        """What pods of a role are to have."""
        return effective_options(self.settings.pods, self.spec.pod, role)

    def base(self) -> dict[str, Any]:
        """Fields that every stage specification has."""
        owner = self.owner
        return {
            "namespace": owner.namespace,
            "kind": owner.kind,
            "name": owner.name,
            "inputs_hash": "",
            "root": ARTIFACTS_ROOT,
            "out": "",
        }

    def folder_of(self, stage: str, inputs_hash: str) -> str:
        """Output folder of a stage with these inputs, whether it has run or not."""
        return f"{self.folder}/{stage}-{inputs_hash[:16]}"

    def out(self, stage: str) -> str:
        """Output folder of a finished stage, empty where it has none."""
        found = self.results.get(stage)
        return found.output.uri if found and found.output else ""

    def digest(self, stage: str) -> str:
        """Digest of a finished stage's output, empty where it has none."""
        found = self.results.get(stage)
        return found.output.digest if found and found.output else ""


def artifact_fields(run: Run[Any], artifact: Artifact) -> dict[str, str]:
    """Fields of an ArtifactStatus."""
    return {"uri": f"pvc://{run.claim}/{artifact.uri}"[:2048], "digest": artifact.digest[:71]}


@dataclass(frozen=True, slots=True)
class Stage(Generic[S]):
    """A row of a kind's table."""

    name: str
    make: Callable[[Run[S]], Decision]
    """What to do, called when all of ``needs`` are done. May raise Blocked."""
    needs: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    """Stages whose output it reads while they still write it: they must run, but need not be done."""
    server: Callable[[Run[S]], ModelServer | None] | None = None
    """The server that the stage will need; asked for before the stage can start, so that it starts early."""
    more_servers: Callable[[Run[S]], tuple[ModelServer, ...]] | None = None
    """Further ones, asked for in the same way."""


@dataclass(frozen=True, slots=True)
class View:
    """Where one stage is, and what to do about it."""

    status: StageStatus
    done: bool = False
    active: bool = False
    """Whether a pod runs or is about to."""
    result: StageResult | None = None
    problem: Problem | None = None
    text: str = ""
    """For people: what it does or waits for."""
    percent: tuple[int, int, str] | None = None
    """Done, total and unit of a running stage."""
    jobs: frozenset[str] = frozenset()
    """Jobs of the stage that belong there."""
    apply: tuple[Child, ...] = ()
    delete: tuple[ObjectKey, ...] = ()
    retry_at: datetime | None = None
    wants_server: bool = False
    frozen: bool = False
    """Whether its inputs are unknown for now only: what runs for the last known ones is left alone."""
    pod: Literal["none", "due", "runs"] = "none"
    """Whether its pod runs, or will (again) as far as one can see. Who follows it starts when it runs, and is
    taken away when none is due: else the follower would hold the room that the pod needs."""
    reach: Reach = NOWHERE
    """Which NetworkPolicy its pods need."""


def pending(
    run: Run[S], name: str, *, text: str = "", problem: Problem | None = None, frozen: bool = False
) -> View:
    """A stage that cannot start yet. The record of an earlier run is kept: it may turn out to fit."""
    before = run.before.stage(name)
    known = before if before.record is not None else StageStatus(name=name, state="Pending")
    status = known.model_copy(update={"state": "Pending"})
    return View(status, text=text, problem=problem, frozen=frozen)


Step = Callable[[Run[Any], str, Work], View]


def decide_stages(
    run: Run[S], table: Iterable[Stage[S]], step: Step
) -> tuple[list[View], Run[S], list[ModelServer]]:
    """Each stage in the order of the table.

    Parameters
    ----------
    run
        The resource.
    table
        Stages, each after those it needs.
    step
        What happens to a stage that has work to do: :func:`safety_operator.planning.engine.stage_jobs.step`.

    Returns
    -------
    tuple
        The views, the run with the results of all finished stages, and the servers that are wanted.
    """
    views: dict[str, View] = {}
    servers: dict[str, ModelServer] = {}
    for stage in table:
        missing = [views[name] for name in stage.needs if not views[name].done]
        leaders = [views[name] for name in stage.follows if not views[name].done]
        missing += [view for view in leaders if view.pod == "none"]
        if missing:
            view = pending(run, stage.name, frozen=all(v.frozen for v in missing))
        else:
            view = _decide(run, stage, step, join=any(view.pod == "due" for view in leaders))
        if view.result is not None:
            run = replace(run, results=dict(run.results) | {stage.name: view.result})
        if view.done or view.pod != "none":
            run = replace(run, hashes=dict(run.hashes) | {stage.name: view.status.hash})
        views[stage.name] = view
        wants = view.wants_server or bool(missing and all(_may_get_done(v) for v in missing))
        if wants and not run.spec.suspend:
            servers |= {server.name: server for server in _servers(run, stage)}
    return list(views.values()), run, list(servers.values())


def _servers(run: Run[S], stage: Stage[S]) -> list[ModelServer]:
    """The servers that a stage will need, as far as they are known."""
    first = attempt(stage.server, run).value if stage.server is not None else None
    more = stage.more_servers(run) if stage.more_servers is not None else ()
    return [server for server in (first, *more) if server is not None]


def _may_get_done(view: View) -> bool:
    """Whether a stage that is not done will be, as far as one can see."""
    return view.problem is None and view.active


def _decide(run: Run[S], stage: Stage[S], step: Step, *, join: bool) -> View:
    try:
        decision, problem = attempt(stage.make, run)
    except ValidationError as error:
        raise UnmetRuleError(f"the specification of stage {stage.name}") from error
    if problem is not None:
        frozen = problem.reason != Reason.INVALID_SPEC and not problem.changing
        return pending(run, stage.name, problem=problem, text=problem.message, frozen=frozen)
    if isinstance(decision, Work):
        time = run.repetition.time
        work = replace(decision, join=join)
        work = replace(work, inputs={**work.inputs, "run": time}) if time else work
        return step(run, stage.name, work)
    assert decision is not None
    return View(StageStatus(name=stage.name, state="Skipped"), done=True, text=decision.reason)


def superseded_jobs(run: Run[S], views: Iterable[View], others: frozenset[str]) -> tuple[ObjectKey, ...]:
    """Jobs whose output nobody wants any more: of other inputs, or of a stage that the table has no more.

    ``others``: roles of Jobs that are of no stage.
    """
    by_name = {view.status.name: view for view in views}

    def is_wanted(key: ObjectKey) -> bool:
        role = str(value_at(run.observed.children[key], "metadata", "labels", LABEL_ROLE, default=""))
        view = by_name.get(role)
        if view is None:
            return role in others
        return view.frozen or key.name in view.jobs or key in view.delete

    return tuple(key for key in sorted(run.observed.children) if key.kind in RUN_KINDS and not is_wanted(key))


def stage_policies(run: Run[S], views: Iterable[View]) -> tuple[Child, ...]:
    """NetworkPolicies for the pods that run."""
    reaches = sorted({view.reach for view in views if view.active and view.reach.name})
    return tuple(Child(build_stage_policy(run.owner, reach, run.settings.dns_peers)) for reach in reaches)
