"""Conditions, the word for people, progress and events: what all kinds say about themselves, and how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from safety_operator.api.conditions import Condition, ConditionType, Reason
from safety_operator.api.kinds import KIND_BY_NAME
from safety_operator.state.keys import Manifest
from safety_operator.state.observed import Observed
from safety_operator.state.plan import Event, Plan
from safety_operator.state.reading import condition_of, format_time, generation_of, items_of, status_of

Truth = Literal["True", "False", "Unknown"]

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
    resource: Manifest, updates: Sequence[ConditionUpdate], now: datetime
) -> list[Condition]:
    """Conditions for the present generation; a transition time changes only with the status."""
    return [_build_condition(resource, update, now) for update in updates]


def _build_condition(resource: Manifest, update: ConditionUpdate, now: datetime) -> Condition:
    before = condition_of(resource, update.type)
    since = before.get("lastTransitionTime")
    if before.get("status") != update.status or not isinstance(since, str):
        since = format_time(now)
    return Condition(
        type=update.type,
        status=update.status,
        observed_generation=generation_of(resource),
        last_transition_time=since,
        reason=update.reason,
        message=shorten(update.message),
    )


def condition_events(resource: Manifest, conditions: Sequence[Condition]) -> tuple[Event, ...]:
    """Events for what changed: a new reason of Ready, and a new state of any other condition of a kind."""
    found = []
    for condition in conditions:
        before = condition_of(resource, condition.type)
        quiet = condition.type in {
            ConditionType.RECONCILING,
            ConditionType.STALLED,
            ConditionType.SUCCEEDED,
        }
        same = before.get("status") == condition.status and before.get("reason") == condition.reason
        if quiet or same or (not before and condition.status == "Unknown"):
            continue
        wrong = condition.status == "False" and condition.reason != Reason.SUSPENDED
        kind = "Warning" if wrong else "Normal"
        found.append(Event(kind, condition.reason, shorten(condition.message or condition.reason, 1024)))
    return tuple(dict.fromkeys(found))


def stage_events(resource: Manifest, stages: Sequence[Mapping[str, Any]]) -> tuple[Event, ...]:
    """An event for each stage that started or finished since the present status was written."""
    before = {str(item.get("name")): item for item in items_of(status_of(resource).get("stages"))}
    found = []
    for stage in stages:
        old = before.get(stage["name"], {})
        if stage["state"] == old.get("state") and stage.get("hash") == old.get("hash"):
            continue
        if stage["state"] == "Running":
            found.append(
                Event("Normal", "StageStarted", f"Stage {stage['name']} started: Job {stage['job']}.")
            )
        elif stage["state"] == "Succeeded":
            found.append(Event("Normal", "StageSucceeded", f"Stage {stage['name']} finished."))
    return tuple(found)


def invalid_spec_plan(observed: Observed, message: str, now: datetime) -> Plan:
    """Nothing is done and nothing is taken away; the status names the field."""
    return stalled_plan(observed, Reason.INVALID_SPEC, message, now)


def stalled_plan(observed: Observed, reason: str, message: str, now: datetime) -> Plan:
    """Nothing is done and nothing is taken away; the status says why."""
    resource = observed.resource
    readiness = Readiness("False", reason, message, state="Stalled", stalled=True, succeeded="Unknown")
    kind = KIND_BY_NAME.get(str(resource.get("kind")))
    updates = readiness.updates(batch=kind is not None and kind.batch)
    conditions = build_conditions(resource, updates, now)
    status = dict(status_of(resource)) | {
        "observedGeneration": generation_of(resource),
        "state": readiness.state,
        "conditions": _merge(resource, conditions),
    }
    return Plan(status=status, events=condition_events(resource, conditions))


def _merge(resource: Manifest, conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    """The new conditions, and those of other types as they are."""
    types = {condition.type for condition in conditions}
    kept = [
        dict(item)
        for item in items_of(status_of(resource).get("conditions"))
        if item.get("type") not in types
    ]
    return [*(item.to_manifest() for item in conditions), *kept]
