"""The common part of the batch kinds' plans: decide about the stages, keep what belongs there, report."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

from safety_operator.api.conditions import CommonStatus, ConditionType, ProgressStatus, Reason
from safety_operator.api.run import RunSpec
from safety_operator.planning.engine.conditions import (
    ConditionUpdate,
    Readiness,
    build_conditions,
    condition_events,
    shorten,
    stage_events,
)
from safety_operator.planning.engine.job_tries import LOST_NODES
from safety_operator.planning.engine.problems import Blocked, Problem, attempt, capital, pod_words
from safety_operator.planning.engine.servers import JUDGE_ROLE, TARGET_ROLE, server_children, unwanted_servers
from safety_operator.planning.engine.stage_jobs import step
from safety_operator.planning.engine.stages import (
    Decision,
    Run,
    Stage,
    View,
    Work,
    decide_stages,
    pending,
    stage_policies,
    superseded_jobs,
)
from safety_operator.state.keys import RUN_KINDS, ObjectKey
from safety_operator.state.plan import Child, Event, Plan
from safety_operator.state.reading import (
    generation_of,
    is_terminating,
    is_true,
    runs_of_role,
    status_of,
)

S = TypeVar("S", bound=RunSpec)

WAITING_LOOKS = 10
"""While no pod runs a resource is looked at without an event this many times less often."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[S]):
    """What the stages of a resource came to."""

    run: Run[S]
    """With the results of all finished stages."""
    views: tuple[View, ...]
    apply: tuple[Child, ...]
    delete: tuple[ObjectKey, ...]
    requeue_after: float | None

    @property
    def done(self) -> bool:
        """Whether every stage is done."""
        return all(view.done for view in self.views)

    def view(self, name: str) -> View | None:
        """A stage's view by name."""
        return next((view for view in self.views if view.status.name == name), None)


def advance(
    run: Run[S],
    table: Iterable[Stage[S]],
    check: Callable[[Run[S]], None] = Run.check_references,
    *,
    others: frozenset[str] = frozenset(),
) -> Outcome[S]:
    """Decide about each stage, and collect what is to be made and taken away.

    Parameters
    ----------
    run
        The resource.
    table
        Its stages.
    check
        Raises Blocked where something that the spec names for any stage is not there. Nothing starts without
        it: a mistake for the last stage must not show when hours of work are done. What has begun goes on,
        and each stage looks for itself.
    others
        Roles of Jobs that belong to no stage of the table, and that the caller follows itself.
    """
    missing = None if has_begun(run) else attempt(check, run).problem
    if missing is not None:
        table = [replace(stage, make=partial(_blocked, missing)) for stage in table]
    views, run, servers = decide_stages(run, table, _guarded_step)
    superseded = superseded_jobs(run, views, others)
    apply = [*stage_policies(run, views)]
    for server in servers:
        apply += server_children(server)
    for view in views:
        apply += view.apply
    names = [server.name for server in servers]
    stale = tuple(
        key for role in (TARGET_ROLE, JUDGE_ROLE) for key in unwanted_servers(run.observed, role, names)
    )
    if any(view.frozen for view in views) and not run.spec.suspend and _any_running(views, run):
        stale = ()
    delete = [key for view in views for key in view.delete] + [*superseded, *stale]
    delete += [ObjectKey("Service", key.name) for key in delete if key.kind == "Job"]
    return Outcome(
        run,
        tuple(views),
        _without_duplicates(apply),
        tuple(key for key in dict.fromkeys(delete) if _still_there(run, key)),
        _requeue(run, views),
    )


def _blocked(problem: Problem, _run: Run[Any]) -> Decision:
    raise Blocked(problem)


def has_begun(run: Run[Any]) -> bool:
    """Whether any stage has a Job, or has had one that came to its end."""
    return any(key.kind in RUN_KINDS for key in run.observed.children) or any(
        stage.record is not None for stage in run.before.stages
    )


def _without_duplicates(children: Iterable[Child]) -> tuple[Child, ...]:
    """Each object once: servers of one role share a NetworkPolicy."""
    named = {(child.manifest["kind"], child.manifest["metadata"]["name"]): child for child in children}
    return tuple(named.values())


def _guarded_step(run: Run[Any], name: str, work: Work) -> View:
    """A stage's step, unless the artifact store is missing."""
    found = step(run, name, work)
    problem = attempt(run.check_store).problem
    if problem is None or found.done:
        return found
    return pending(run, name, problem=problem, text=problem.message, frozen=True)


def _any_running(views: Sequence[View], run: Run[Any]) -> bool:
    """Whether a stage with inputs that are unknown for now still has an unfinished Job."""
    frozen = [view.status.name for view in views if view.frozen]
    jobs = (job for name in frozen for _, job in runs_of_role(run.observed, name))
    return any(not (is_true(job, "Complete") or is_true(job, "Failed")) for job in jobs)


def _still_there(run: Run[Any], key: ObjectKey) -> bool:
    if key.kind == "Pod":
        return True
    child = run.observed.children.get(key)
    return child is not None and not is_terminating(child)


def _requeue(run: Run[Any], views: Sequence[View]) -> float | None:
    """When to look again without an event: for progress, and for the next try."""
    times = [max(1.0, (view.retry_at - run.now).total_seconds()) for view in views if view.retry_at]
    if any(view.active for view in views):
        # What has not begun is followed by its events; a look now and then is for those that were missed.
        begun = any(view.pod == "runs" for view in views)
        times.append(run.settings.progress_seconds * (1 if begun else WAITING_LOOKS))
    return min(times, default=None)


def find_readiness(outcome: Outcome[Any], completed: str) -> Readiness:
    """How a batch resource is.

    Parameters
    ----------
    outcome
        What its stages came to.
    completed
        Message for a finished run.
    """
    if outcome.done:
        return Readiness("True", Reason.COMPLETED, completed, state="Succeeded", succeeded="True")
    if outcome.run.spec.suspend:
        return _suspended(outcome.views)
    active = [view for view in outcome.views if view.active]
    problems = [view.problem for view in outcome.views if view.problem is not None]
    broken = next((item for item in problems if item.stalled), None)
    if broken is not None:
        return _broken(broken, active=bool(active))
    running = [view.status.name for view in active if not (view.problem and view.problem.queued)]
    return _unfinished(running, problems)


def _suspended(views: Sequence[View]) -> Readiness:
    """Nothing runs, unless something that is to be deleted does not go."""
    held = next((view.problem for view in views if view.problem is not None and view.jobs), None)
    if held is not None:
        text = f"spec.suspend is true, but something may still run. {capital(held.message)}"
        return Readiness("Unknown", held.reason, text, state="Suspended")
    text = "spec.suspend is true: nothing runs, and what is finished is kept."
    return Readiness("Unknown", Reason.SUSPENDED, text, state="Suspended")


def _unfinished(running: Sequence[str], problems: Sequence[Problem]) -> Readiness:
    """Nothing is wrong, and not everything is done."""
    words = next((item for item in problems if not item.reference and not item.queued), None)
    if words is not None:
        return _working(words.reason, words.message)
    if running:
        return _working(Reason.RUNNING, f"Running: {', '.join(running)}.")
    if problems:
        text = f"{capital(problems[0].message)}."
        return Readiness("Unknown", problems[0].reason, text, state="Waiting", reconciling=True)
    return Readiness("Unknown", Reason.PENDING, "Nothing has started yet.", state="Pending", reconciling=True)


def _working(reason: str, message: str) -> Readiness:
    return Readiness("Unknown", reason, message, state="Running", reconciling=True)


def _broken(problem: Problem, *, active: bool) -> Readiness:
    """Something is wrong; stalled once nothing else goes on."""
    if active:
        return Readiness("False", problem.reason, problem.message, state="Running", reconciling=True)
    return Readiness(
        "False",
        problem.reason,
        problem.message,
        state="Failed" if problem.failed else "Stalled",
        stalled=True,
        succeeded="False" if problem.failed else "Unknown",
    )


def describe_progress(outcome: Outcome[Any]) -> ProgressStatus:
    """How far the run is, for people."""
    if outcome.done:
        return ProgressStatus(percent=100, text="done")
    if outcome.run.spec.suspend:
        return ProgressStatus(text="suspended")
    active = [view for view in outcome.views if view.active and view.text]
    others = [view for view in outcome.views if view.problem is not None and not view.active]
    texts = list(dict.fromkeys(view.text for view in [*active, *others] if view.text))
    counted = next((view for view in active if view.percent), None)
    text = shorten(", ".join(texts[:3]) or "pending", 256)
    if counted is None or counted.percent is None:
        stage = active[0].status.name if active else ""
        return ProgressStatus(stage=stage, text=text)
    done, total, unit = counted.percent
    return ProgressStatus(
        stage=counted.status.name,
        done=done,
        total=total,
        unit=unit[:20],
        percent=100 * done // total,
        text=text,
    )


def kept_plan(outcome: Outcome[Any]) -> Plan | None:
    """A finished run stays as it is while what it refers to is being remade or was taken away.

    None unless the run was finished for this generation and only waits for references now.
    """
    resource = outcome.run.observed.resource
    if not outcome.run.before.is_true(ConditionType.SUCCEEDED, generation_of(resource)):
        return None
    waits = [view.problem for view in outcome.views if view.problem is not None]
    if not waits or not all(item.reference for item in waits) or any(view.active for view in outcome.views):
        return None
    return Plan(status=status_of(resource))


def conclude(outcome: Outcome[S], completed: str, build: Callable[[Outcome[S], dict[str, Any]], Any]) -> Plan:
    """The plan of a batch kind that has no conditions and no events of its own.

    Parameters
    ----------
    outcome
        What its stages came to.
    completed
        Message for a finished run.
    build
        Gives the kind's status model, from the outcome and the fields that all kinds have.
    """
    kept = kept_plan(outcome)
    if kept is not None:
        return kept
    readiness = find_readiness(outcome, completed)
    return finish(outcome, build(outcome, common_status(outcome, readiness.updates(batch=True), readiness)))


def common_status(
    outcome: Outcome[Any], updates: Sequence[ConditionUpdate], readiness: Readiness
) -> dict[str, Any]:
    """The fields of CommonStatus, as snake_case arguments of a kind's status model."""
    run = outcome.run
    generation = generation_of(run.observed.resource)
    return {
        "observed_generation": generation,
        "conditions": build_conditions(run.before, updates, generation, run.now),
        "state": readiness.state,
        "progress": describe_progress(outcome),
        "stages": [view.status for view in outcome.views],
        "warnings": list(stage_warnings(outcome))[:MAX_WARNINGS],
    }


MAX_WARNINGS = 16
"""Warnings that a status has room for."""


def stage_warnings(outcome: Outcome[Any]) -> dict[str, str]:
    """Warnings of all stages that are done, each once in the order of the stages, with an event's reason."""
    found: dict[str, str] = {}
    for view in outcome.views:
        record = outcome.run.results.get(view.status.name)
        reason = "DataWarning" if view.status.name == "collect" else "StageWarning"
        for text in record.warnings if record else ():
            found.setdefault(text[:512], reason)
    return found


def warning_events(outcome: Outcome[Any], shown: Sequence[str]) -> tuple[Event, ...]:
    """An event for each warning that the present status has not got."""
    reasons = stage_warnings(outcome)
    new = (text for text in shown if text not in outcome.run.before.warnings)
    return tuple(Event("Warning", reasons.get(text, "SpecWarning"), text) for text in new)


def pod_events(outcome: Outcome[Any]) -> tuple[Event, ...]:
    """An event for the pod of each stage that ended last, while its Job goes on with another one.

    It is told in every plan: what was said before is not sent again.
    """
    found = [
        Event("Warning", "RayHeadLost", f"RayJob {name}: the head's pod is gone. Another RayJob goes on.")
        for name in sorted(outcome.run.observed.headless)
    ]
    found += ray_events(outcome)
    for view in outcome.views:
        failure = outcome.run.observed.failures.get(view.status.job)
        if view.status.state != "Running" or failure is None:
            continue
        if failure.exit_code is not None or failure.ended:
            words = shorten(pod_words(failure), 900).rstrip(". ")
            found.append(
                Event("Warning", "PodEnded", f"Stage {view.status.name}: {words}. Its Job makes another.")
            )
    return tuple(found)


def ray_events(outcome: Outcome[Any]) -> list[Event]:
    """An event for each RayJob that ended because it lost a pod, which the next one follows at once."""
    observed = outcome.run.observed
    ended = (observed.results.get(name) for kind, name in observed.children if kind == "RayJob")
    failures = (result.failure for result in ended if result is not None and result.failure is not None)
    return [
        Event("Warning", failure.reason, shorten(failure.message, 1024))
        for failure in failures
        if failure.reason in LOST_NODES
    ]


def finish(outcome: Outcome[Any], status: CommonStatus) -> Plan:
    """The plan around a kind's status model."""
    before = outcome.run.before
    events = stage_events(before, status.stages) + condition_events(before, status.conditions)
    events += warning_events(outcome, status.warnings) + pod_events(outcome)
    return Plan(
        status=status.to_manifest(),
        apply=outcome.apply,
        delete=outcome.delete,
        events=events,
        requeue_after=outcome.requeue_after,
    )
