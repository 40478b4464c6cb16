"""Writes status: only where it differs, and only what differs."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.cluster.apply import RefusedChild
from safety_operator.cluster.client import Api
from safety_operator.cluster.kinds import OWNERS
from safety_operator.cluster.ownership import Obstacle
from safety_operator.cluster.store import Store
from safety_operator.state.keys import Key, Manifest

log = logging.getLogger(__name__)

MAX_MESSAGE = 1000
"""Characters of an API server's message that go into a condition."""

REFUSED = "Change the field of the spec that it names, or the policy or quota."
NO_ANSWER = "An admission webhook of the cluster does not answer: fix it; it goes on as soon as it does."
"""What helps where the API server refuses a child."""
MAX_NAMED = 8
"""Objects in the way that the command to delete them names; the rest shows when these are gone."""
MAX_PROGRESS = 256
"""Characters of the progress text, the bound of its schema."""


def merge_patch(current: Any, wanted: Any) -> Any:
    """Give the JSON merge patch (RFC 7386) that turns ``current`` into ``wanted``; empty if they are equal.

    Lists are replaced whole.
    """
    if not isinstance(current, Mapping) or not isinstance(wanted, Mapping):
        return wanted
    patch: dict[str, Any] = dict.fromkeys(current.keys() - wanted.keys())
    for key, value in wanted.items():
        if key not in current:
            patch[key] = value
        elif current[key] != value:
            patch[key] = merge_patch(current[key], value)
    return patch


async def write_status(
    api: Api, store: Store, key: Key, resource: Manifest, wanted: Mapping[str, Any]
) -> bool:
    """Patch the status where it differs; whether it did. Raises NotFoundError if the resource is gone."""
    current = resource.get("status") or {}
    patch = merge_patch(current, wanted)
    if not patch:
        return False
    # The uid makes the patch fail on another resource that took the name meanwhile.
    body = {"metadata": {"uid": resource["metadata"]["uid"]}, "status": patch}
    store.writing[key] = set()
    try:
        store.put_resource(await api.patch(OWNERS[key.kind], key.namespace, key.name, body, "status"))
    finally:
        del store.writing[key]
    if current.get("state") != wanted.get("state") or _words(current) != _words(wanted):
        log.info(
            "state",
            extra={"key": "/".join(key), "was": current.get("state", ""), "state": wanted.get("state", "")}
            | {"reason": _words(wanted)},
        )
    return True


def with_refusals(
    status: Mapping[str, Any], refusals: Sequence[RefusedChild], resource: Manifest, now: datetime
) -> dict[str, Any]:
    """Say in the conditions that the API server refuses children; planners cannot know."""
    message = "; ".join(
        f"The API server refuses {r.child.kind} {r.child.name}: {r.message}" for r in refusals
    )
    stalled = not all(refusal.waits for refusal in refusals)
    remedy = REFUSED if stalled else NO_ANSWER
    message = f"{message[:MAX_MESSAGE].rstrip('.')}. {remedy}"
    return _overlay(status, resource, now, Reason.CHILD_REFUSED, message, stalled=stalled)


def with_obstacles(
    status: Mapping[str, Any], obstacles: Sequence[Obstacle], resource: Manifest, now: datetime
) -> dict[str, Any]:
    """Say in the conditions which objects have the names of children, and what to do about them."""
    stuck = [obstacle for obstacle in obstacles if obstacle.is_stuck(now)]
    named = "; ".join(f"{o.child.kind} {o.child.name} is in the way: {o.why}" for o in stuck or obstacles)
    message = f"{named[:MAX_MESSAGE]}."
    if stuck:
        names = " ".join(f"{o.child.kind.lower()}/{o.child.name}" for o in stuck[:MAX_NAMED])
        remedy = f"Delete it: kubectl delete -n {resource['metadata']['namespace']} {names}"
        other = ", or give this resource another name" if any(o.foreign for o in stuck) else ""
        message = f"{message} {remedy}{other}."
    return _overlay(status, resource, now, Reason.OBJECT_IN_THE_WAY, message, stalled=bool(stuck))


def _overlay(
    status: Mapping[str, Any], resource: Manifest, now: datetime, reason: str, message: str, *, stalled: bool
) -> dict[str, Any]:
    """The status with Ready, Stalled and Reconciling of its own; not stalled: it is being waited for."""
    before = {c["type"]: c for c in (resource.get("status") or {}).get("conditions", ())}
    generation = resource["metadata"].get("generation", 0)
    conditions = {c["type"]: dict(c) for c in status.get("conditions", ())}
    for kind, value in (
        (ConditionType.READY, "False" if stalled else "Unknown"),
        (ConditionType.STALLED, str(stalled)),
        (ConditionType.RECONCILING, str(not stalled)),
    ):
        old = before.get(kind, {})
        time = old.get("lastTransitionTime") if old.get("status") == value else None
        conditions[kind] = {
            "type": str(kind),
            "status": value,
            "observedGeneration": generation,
            "lastTransitionTime": time or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "reason": reason,
            "message": message,
        }
    progress = {**(status.get("progress") or {}), "text": message[:MAX_PROGRESS]}
    return {
        **status,
        "conditions": list(conditions.values()),
        "state": "Stalled" if stalled else "Waiting",
        "progress": progress,
    }


def _words(status: Mapping[str, Any]) -> str:
    """Reason and message of Ready, for the log."""
    for condition in status.get("conditions", ()):
        if condition["type"] == ConditionType.READY:
            return f"{condition['reason']}: {condition['message']}"
    return ""
