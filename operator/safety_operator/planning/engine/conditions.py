"""Conditions, the word for people, progress and events: what all kinds say about themselves, and how."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from safety_operator.api.conditions import CommonStatus, Condition, ConditionType, Reason, StageStatus
from safety_operator.api.kinds import KIND_BY_NAME
from safety_operator.state.observed import Observed
from safety_operator.state.plan import Event, Plan
from safety_operator.state.reading import format_time, generation_of
from safety_records.result import Truth

MAX_MESSAGE = 2048
"""Characters of a condition's message: a worker's last words fit, and a table stays readable."""


@dataclass(frozen=True, slots=True)
class ConditionUpdate:
    """A wanted condition; the transition time is found by comparing with the present status."""

    type: ConditionType
    status: Truth
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """How a resource is, in the words of the conventions."""

    ready: Truth
    reason: str
    message: str
    state: str
    """One word: Pending, Waiting, Running, Succeeded, Failed, Stalled, Suspended or Serving."""
    reconciling: bool = False
    stalled: bool = False
    succeeded: Truth = "Unknown"

    def updates(self, *, batch: bool) -> list[ConditionUpdate]:
        """Ready, Reconciling and Stalled, and Succeeded for a batch kind."""
        found = [
            ConditionUpdate(ConditionType.READY, self.ready, self.reason, self.message),
            _flag(ConditionType.RECONCILING, self.reconciling, self.reason, self.message),
            _flag(ConditionType.STALLED, self.stalled, self.reason, self.message),
        ]
        if batch:
            found.append(ConditionUpdate(ConditionType.SUCCEEDED, self.succeeded, self.reason, self.message))
        return found


def _flag(type_: ConditionType, value: bool, reason: str, message: str) -> ConditionUpdate:
    """A condition that explains itself only when it is True, so that it stays the same otherwise."""
    if value:
        return ConditionUpdate(type_, "True", reason, message)
    words = {ConditionType.RECONCILING: "NotReconciling", ConditionType.STALLED: "NotStalled"}
    return ConditionUpdate(type_, "False", words[type_], "")


def shorten(text: str, limit: int = MAX_MESSAGE) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def build_conditions(
    before: CommonStatus, updates: Sequence[ConditionUpdate], generation: int, now: datetime
) -> list[Condition]:
    """Conditions for a generation; a transition time of the present status changes only with the state."""
    return [_build_condition(before, update, generation, now) for update in updates]


def _build_condition(
    before: CommonStatus, update: ConditionUpdate, generation: int, now: datetime
) -> Condition:
    old = before.condition(update.type)
    same = old is not None and old.status == update.status
    return Condition(
        type=update.type,
        status=update.status,
        observed_generation=generation,
        last_transition_time=old.last_transition_time if old and same else format_time(now),
        reason=update.reason,
        message=shorten(update.message),
    )


def condition_events(before: CommonStatus, conditions: Sequence[Condition]) -> tuple[Event, ...]:
    """Events for what changed: a new reason of Ready, and a new state of any other condition of a kind."""
    found = []
    for condition in conditions:
        old = before.condition(condition.type)
        quiet = condition.type in {
            ConditionType.RECONCILING,
            ConditionType.STALLED,
            ConditionType.SUCCEEDED,
        }
        same = old is not None and (old.status, old.reason) == (condition.status, condition.reason)
        if quiet or same or (old is None and condition.status == "Unknown"):
            continue
        wrong = condition.status == "False" and condition.reason != Reason.SUSPENDED
        wrong = wrong or condition.reason == Reason.NO_CALLER_KEYS
        kind = "Warning" if wrong else "Normal"
        found.append(Event(kind, condition.reason, shorten(condition.message or condition.reason, 1024)))
    return tuple(dict.fromkeys(found))


def stage_events(before: CommonStatus, stages: Sequence[StageStatus]) -> tuple[Event, ...]:
    """An event for each stage that started or finished since the present status was written."""
    found = []
    for stage in stages:
        old = before.stage(stage.name)
        if (stage.state, stage.hash) == (old.state, old.hash):
            continue
        if stage.state == "Running":
            found.append(Event("Normal", "StageStarted", f"Stage {stage.name} started: Job {stage.job}."))
        elif stage.state == "Succeeded":
            found.append(Event("Normal", "StageSucceeded", f"Stage {stage.name} finished."))
    return tuple(found)


def stalled_plan(observed: Observed, before: CommonStatus, now: datetime, reason: str, message: str) -> Plan:
    """Nothing is done and nothing is taken away; the status says why, and else what it said ``before``."""
    resource, generation = observed.resource, generation_of(observed.resource)
    readiness = Readiness("False", reason, message, state="Stalled", stalled=True, succeeded="Unknown")
    updates = readiness.updates(batch=KIND_BY_NAME[str(resource.get("kind"))].batch)
    conditions = build_conditions(before, updates, generation, now)
    types = {condition.type for condition in conditions}
    others = [condition for condition in before.conditions if condition.type not in types]
    status = before.model_copy(
        update={
            "observed_generation": generation,
            "state": readiness.state,
            "conditions": [*conditions, *others],
        }
    )
    return Plan(status=status.to_manifest(), events=condition_events(before, conditions))
