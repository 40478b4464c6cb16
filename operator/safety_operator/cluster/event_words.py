"""What the events of one object say about why it does not move. Pure.

Events are hints that anybody in the namespace may write: texts are cut and cleaned, and nothing but a
condition's message is made of them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from safety_operator.cluster.client import JsonObject
from safety_operator.state.reading import parse_time

MAX_MESSAGE = 1000
"""Characters of an event's message that are kept; Kubernetes cuts at 1,024."""
STEPS = {
    "FailedScheduling": 1,
    "Scheduled": 1,
    "FailedAttachVolume": 2,
    "SuccessfulAttachVolume": 2,
    "FailedMount": 3,
    "FailedMapVolume": 3,
    "FailedCreatePodSandBox": 4,
    "Failed": 5,
    "BackOff": 5,
    "Pulling": 5,
    "Pulled": 6,
    "Created": 7,
    "Started": 8,
    "FailedCreate": 1,
    "SuccessfulCreate": 1,
    "FailedToCreateHeadPod": 1,
    "CreatedHeadPod": 1,
    "FailedToCreateWorkerPod": 2,
    "CreatedWorkerPod": 2,
    "ProvisioningFailed": 1,
    "ProvisioningSucceeded": 1,
}
"""How far on the way to a running pod an event is. A warning is over once a later event is as far or further;
one that is not listed, once anything goes on."""
HARMLESS = frozenset({"DNSConfigForming", "FailedToRetrieveImagePullSecret", "PolicyViolation", "Unhealthy"})
"""Warnings that stop nothing: audits, and what a waiting container's status says better."""
TROUBLE_IN_NORMAL = frozenset({"FailedBinding", "ExternalProvisioning"})
"""Events of claims that Kubernetes calls normal, and that wait for somebody."""
KUEUE_WORKLOAD = re.compile(r"Created Workload: [^/\s]+/([a-z0-9][a-z0-9.-]{0,252})")
"""Kueue's event on a Job, with the name of its Workload."""

LONG_SECONDS = 45
"""How long a provisioner may take before its claim is told: every claim of one waits for a moment."""
_COMBINED = "(combined from similar events): "
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_LONG_HEX = re.compile(r"\b[0-9a-f]{24,}\b")


@dataclass(frozen=True, slots=True)
class Words:
    """An event's words, cleaned."""

    reason: str
    message: str


def find_trouble(events: Iterable[JsonObject]) -> Words | None:
    """The newest warning that nothing later shows to be over; None if there is none."""
    ordered = sorted(events, key=_time)
    for index in range(len(ordered) - 1, -1, -1):
        event = ordered[index]
        if _is_trouble(event) and not _is_over(event, ordered[index + 1 :]):
            return words_of(event)
    return None


def find_newest(events: Iterable[JsonObject]) -> Words | None:
    """The newest event of all; None without any."""
    newest = max(events, key=_time, default=None)
    return words_of(newest) if newest is not None else None


def find_workload(events: Iterable[JsonObject]) -> str:
    """Name of the Workload that Kueue made for a Job; empty where it made none."""
    for event in sorted(events, key=_time, reverse=True):
        if event.get("reason") == "CreatedWorkload" and (
            found := KUEUE_WORKLOAD.search(str(event.get("message") or ""))
        ):
            return found[1]
    return ""


def words_of(event: JsonObject) -> Words:
    """An event's reason and message, without control characters and without what differs each time."""
    reason = re.sub(r"[^A-Za-z0-9]", "", str(event.get("reason") or ""))[:64] or "Unknown"
    message = _NOT_TEXT.sub(" ", str(event.get("message") or "")).strip().removeprefix(_COMBINED)
    return Words(reason, _LONG_HEX.sub("…", _without_suffix(message, event))[:MAX_MESSAGE])


def _without_suffix(message: str, event: JsonObject) -> str:
    """The message without the random end of a pod's name: each try has another, and a status would change."""
    name = str(event.get("involvedObject", {}).get("name") or "")
    if not name:
        return message
    of_group = r"-\d+|-head|-[a-z]+-worker"  # of an Indexed Job, of KubeRay
    return re.sub(rf'"({re.escape(name)}(?:{of_group})?)-[a-z0-9]{{5}}"', r'"\1"', message)


def _time(event: JsonObject) -> str:
    """When it was last seen, to the second: events of one second have no order."""
    series = event.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event.get("firstTimestamp"),
        event["metadata"].get("creationTimestamp"),
    )
    return str(next((time for time in times if time), ""))[:19]


def _is_trouble(event: JsonObject) -> bool:
    reason = event.get("reason")
    if reason == "ExternalProvisioning" and _lasted(event) < LONG_SECONDS:
        return False
    return reason in TROUBLE_IN_NORMAL or (event.get("type") == "Warning" and reason not in HARMLESS)


def _lasted(event: JsonObject) -> float:
    """Seconds between the first and the last time that it was seen; 0 where it does not say."""
    first, last = parse_time(event.get("firstTimestamp")), parse_time(event.get("lastTimestamp"))
    return (last - first).total_seconds() if first and last else 0.0


def _is_over(event: JsonObject, later: Iterable[JsonObject]) -> bool:
    step = STEPS.get(str(event.get("reason")), 0)
    return any(
        other.get("type") == "Normal"
        and STEPS.get(str(other.get("reason")), -1) >= step
        and _time(other) > _time(event)
        for other in later
    )
