"""Runs of a SafetyEval: the one whose results are shown, the one that a schedule has started, earlier ones.

``status.stages`` and ``status.run`` are those of the shown run. A time of the schedule starts a rerun, whose
stages stand in ``status.rerun``; when all of them are done it takes the shown run's place. So the results of
the run before stay, readiness included, until there are new ones, and each decision can be made again from
the status after a crash.

Times that pass while a run goes on are covered by it. However many pass while nothing can run (the operator
is down, the resource is suspended), one run makes up for them. A rerun that needs a person is given up when
the next time comes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.eval_status import SafetyEvalStatus
from safety_operator.api.safety_eval import SafetyEvalSpec
from safety_operator.api.schedule import RerunStatus, RunIdentity, RunStatus, ScheduleStatus, ScoresRef
from safety_operator.planning.engine.batch import (
    MAX_WARNINGS,
    Outcome,
    advance,
    common_status,
    describe_progress,
    find_readiness,
    finish,
)
from safety_operator.planning.engine.conditions import ConditionUpdate, Readiness, stage_events
from safety_operator.planning.engine.stages import Repetition, Run, Stage
from safety_operator.planning.safety_eval.eval_history import failed_run, finished_run, status_before
from safety_operator.planning.safety_eval.eval_status import build_eval_status
from safety_operator.planning.safety_eval.thresholds import decide_thresholds, safety_passed
from safety_operator.planning.shared.checks import downloads_warning
from safety_operator.planning.shared.schedule import DEFAULT_ZONE, missed_time, next_time
from safety_operator.state.keys import ObjectKey
from safety_operator.state.plan import Plan
from safety_operator.state.reading import format_time, parse_time
from safety_records.eval_stages import ThresholdVerdict

MAX_PAUSE = timedelta(hours=1)
"""Longest pause until the schedule is looked at again: a clock may be set, a machine may sleep."""

EvalOutcome = Outcome[SafetyEvalSpec]
Table = Iterable[Stage[SafetyEvalSpec]]


def shown_repetition(run: Run[SafetyEvalSpec]) -> Repetition:
    """Which run the results in a status are of."""
    return _repetition(status_before(run).run)


def follow_runs(shown: EvalOutcome, table: Table) -> Plan:
    """The plan around the shown run, and the rerun where one goes on or is due.

    Parameters
    ----------
    shown
        What the stages of the shown run came to.
    table
        The stages, for a rerun.
    """
    before = status_before(shown.run)
    schedule = _schedule(shown)
    runs = _Runs(shown, schedule, before.run, list(before.history))
    if schedule is None or not shown.done:
        return runs.plan()
    runs.remember()
    rerun = before.rerun
    due = _due(shown, schedule, rerun)
    if rerun is not None:
        again = _advance(shown, rerun, table)
        readiness = find_readiness(again, "")
        if again.done:
            return runs.promote(again, rerun).plan()
        words = _failure(again, readiness)
        if due is None or not words:
            return runs.plan(again, rerun)
        runs.history.insert(0, failed_run(again, rerun.time, words))
    if due is None or shown.run.spec.suspend:
        return runs.plan()
    rerun = RerunStatus(time=format_time(due), previous=_scores(shown), started_at=format_time(shown.run.now))
    return runs.plan(_advance(shown, rerun, table), rerun)


def _repetition(identity: RunIdentity | None) -> Repetition:
    return Repetition(identity.time, identity.previous) if identity else Repetition()


def _schedule(shown: EvalOutcome) -> ScheduleStatus | None:
    """The schedule with the moment at which it was first seen, and its next time."""
    spec, now = shown.run.spec, shown.run.now
    if spec.schedule is None:
        return None
    zone = spec.time_zone or DEFAULT_ZONE
    before = status_before(shown.run).schedule
    known = before is not None and (before.cron, before.time_zone) == (spec.schedule, zone)
    since = before.since if before is not None and known and parse_time(before.since) else format_time(now)
    coming = next_time(spec.schedule, zone, now)
    return ScheduleStatus(
        cron=spec.schedule, time_zone=zone, since=since, next=format_time(coming) if coming else ""
    )


def _due(shown: EvalOutcome, schedule: ScheduleStatus, rerun: RerunStatus | None) -> datetime | None:
    """The time of the schedule that has come and that no run has covered."""
    moments = [schedule.since, _finished_at(shown), rerun.time if rerun else ""]
    after = max(moment for text in moments if (moment := parse_time(text)) is not None)
    return missed_time(schedule.cron, schedule.time_zone, after, shown.run.now)


def _finished_at(outcome: EvalOutcome) -> str:
    view = outcome.view("report")
    return view.status.finished_at if view else ""


def _scores(shown: EvalOutcome) -> ScoresRef | None:
    """The shown run's scores, to compare the next run with."""
    record = shown.run.results.get("score")
    if record is None or record.output is None:
        return None
    name = f"run of {shown.run.repetition.time or _finished_at(shown)}"
    return ScoresRef(run=name[:63], uri=record.output.uri[:1024], digest=record.output.digest[:71])


def _advance(shown: EvalOutcome, rerun: RerunStatus, table: Table) -> EvalOutcome:
    """Decide about the stages of a rerun, with its own records in the place of the shown run's."""
    before = shown.run.before.model_copy(update={"stages": rerun.stages})
    return advance(replace(shown.run, before=before, results={}, repetition=_repetition(rerun)), table)


def _failure(again: EvalOutcome, readiness: Readiness) -> str:
    """Why a rerun gives nothing, now or when it was last looked at; empty while there is hope."""
    if readiness.stalled:
        return readiness.message
    before = again.run.before.condition(ConditionType.UP_TO_DATE)
    return before.message if before is not None and before.status == "False" else ""


@dataclass
class _Runs:
    """What the status will say of runs."""

    shown: EvalOutcome
    schedule: ScheduleStatus | None
    identity: RunIdentity | None
    history: list[RunStatus]

    def remember(self) -> None:
        """Put the shown run into the history, unless it is there."""
        verdicts = _verdicts(self.shown)
        entry = finished_run(self.shown, safety_passed(verdicts), verdicts or ())
        if not any(run.id == entry.id for run in self.history):
            self.history.insert(0, entry)
            self.history.sort(key=lambda run: run.finished_at, reverse=True)

    def promote(self, again: EvalOutcome, rerun: RerunStatus) -> "_Runs":
        """The finished rerun is the shown run from now on."""
        runs = _Runs(
            again, self.schedule, RunIdentity(time=rerun.time, previous=rerun.previous), self.history
        )
        runs.remember()
        return runs

    def plan(self, again: EvalOutcome | None = None, rerun: RerunStatus | None = None) -> Plan:
        """The plan for the shown run, and for the rerun where there is one."""
        verdicts = _verdicts(self.shown)
        passed = safety_passed(verdicts)
        readiness = find_readiness(self.shown, f"Evaluation finished. SafetyPassed is {passed.status}.")
        updates = [*readiness.updates(batch=True), passed]
        if self.schedule is not None:
            updates.append(self._up_to_date(again))
        common = common_status(self.shown, updates, readiness)
        missing = downloads_warning(self.shown.run.spec)
        common["warnings"] = [*filter(None, [missing]), *common["warnings"]][:MAX_WARNINGS]
        if again is not None and rerun is not None:
            common["progress"] = _progress(again)
            rerun = rerun.model_copy(update={"stages": [view.status for view in again.views]})
        limit = self.shown.run.spec.history_limit
        status = build_eval_status(self.shown, common, verdicts).model_copy(
            update={
                "run": self.identity,
                "schedule": self.schedule,
                "rerun": rerun,
                "history": self.history[:limit],
            }
        )
        return self._finish(status, again)

    def _finish(self, status: SafetyEvalStatus, again: EvalOutcome | None) -> Plan:
        plan = finish(self.shown, status)
        if again is not None:
            events = stage_events(again.run.before, [view.status for view in again.views])
            kept = {name for view in self.shown.views for name in view.jobs}
            plan = replace(
                plan,
                apply=again.apply,
                delete=tuple(key for key in again.delete if not _is_of(key, kept)),
                events=(*events, *plan.events),
                requeue_after=again.requeue_after,
            )
        return replace(plan, requeue_after=self._requeue(plan.requeue_after))

    def _requeue(self, seconds: float | None) -> float | None:
        coming = parse_time(self.schedule.next) if self.schedule and self.shown.done else None
        if coming is None:
            return seconds
        pause = max(1.0, (min(coming, self.shown.run.now + MAX_PAUSE) - self.shown.run.now).total_seconds())
        return pause if seconds is None else min(seconds, pause)

    def _up_to_date(self, again: EvalOutcome | None) -> ConditionUpdate:
        """Whether the results are of the newest run that was due."""
        type_ = ConditionType.UP_TO_DATE
        coming = f"Next at {self.schedule.next}." if self.schedule and self.schedule.next else ""
        if not self.shown.done:
            return ConditionUpdate(type_, "Unknown", Reason.RUNNING, "No run has finished for this spec yet.")
        if again is None:
            failed = self.history[0] if self.history and self.history[0].state == "Failed" else None
            if failed is not None:
                return ConditionUpdate(
                    type_, "False", Reason.STAGE_FAILED, f"{failed.message} {coming}".strip()
                )
            return ConditionUpdate(type_, "True", Reason.COMPLETED, coming)
        readiness = find_readiness(again, "")
        words = f"{readiness.message} The results are of the run before."
        return ConditionUpdate(
            type_, "False" if readiness.ready == "False" else "Unknown", readiness.reason, words
        )


def _verdicts(outcome: EvalOutcome) -> Sequence[ThresholdVerdict] | None:
    scored = outcome.run.results.get("score")
    if scored is None:
        return None
    return decide_thresholds(outcome.run.spec.thresholds, scored.scores, omitted=scored.omitted_scores)


def _progress(again: EvalOutcome) -> Any:
    found = describe_progress(again)
    return found.model_copy(update={"text": f"again: {found.text}"[:256]})


def _is_of(key: ObjectKey, names: set[str]) -> bool:
    """Whether a child is a Job, or the Service of one, that is to be kept."""
    return key.kind in {"Job", "Service"} and key.name in names
