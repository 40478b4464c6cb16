"""Reads the events of what does not move, and of nothing else.

A first look after a few seconds, further ones with growing pauses, and a limit for all resources together: a
thousand Jobs that a quota refuses cost as many requests as a few. What moves again is forgotten.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from safety_operator.cluster.client import Api, JsonObject
from safety_operator.cluster.event_words import Words, find_newest, find_trouble, find_workload
from safety_operator.cluster.stuck import Stuck
from safety_operator.errors import ForbiddenError, InfrastructureError, NotFoundError
from safety_operator.state.keys import Key
from safety_operator.state.observed import PodFailure

log = logging.getLogger(__name__)

FIRST_SECONDS = 5.0
"""Before it, nothing counts as stuck: a healthy pod starts within it."""
PAUSE_SECONDS = (10.0, 300.0)
"""Shortest and longest pause between two looks; in between a twelfth of the time that it has been stuck, so
that words are at most a minute late in the first 12 minutes."""
SILENT_SECONDS = 45.0
"""After it, a pending pod without any event is told as such."""
ENDING_SECONDS = 120.0
"""After it, a pod that is to end and does not is told: twice what a worker may take."""
LOOKS_PER_SECOND = 4.0
BURST = 20.0
"""Looks at a time before the limit for all resources counts."""
NO_SCHEDULER, NOT_STARTED = "NoScheduler", "NotStarted"
SILENCES = frozenset({NO_SCHEDULER, NOT_STARTED})
"""Reasons of a pending pod of which no event says anything."""
FORBIDDEN_SECONDS = 300.0
"""Pause after the API server refused to show events."""


@dataclass(slots=True)
class _Seen:
    """What is remembered of something stuck."""

    since: float
    asked_at: float | None = None
    silent: bool = False
    """Whether events were asked for and there was none at all."""
    trouble: Words | None = None
    note: Words | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known about something stuck."""

    stuck: Stuck
    trouble: Words | None
    """What keeps it from moving."""
    note: Words | None
    """The newest event, where nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What is known about all of a resource."""

    found: tuple[Answer, ...] = ()
    again: float | None = None
    """Seconds until the next look; None: nothing is stuck."""


class EventReader:
    """Remembers, per resource, what is stuck and what its events said."""

    def __init__(self, api: Api, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._seen: dict[Key, dict[Stuck, _Seen]] = {}
        self._looks = BURST
        self._filled_at = clock()
        self._forbidden_until = 0.0

    def forget(self, key: Key) -> None:
        """Drop the memory of a resource that is gone."""
        self._seen.pop(key, None)

    async def ask(self, key: Key, stuck: Sequence[Stuck]) -> Answers:
        """Give what is known about what is stuck of a resource, after reading what is due."""
        now = self._clock()
        before = self._seen.pop(key, {})
        if not stuck:
            return Answers()
        mine = {one: before.get(one) or _Seen(since=now) for one in stuck}
        self._seen[key] = mine
        for one, seen in mine.items():
            if _due_in(seen, now) <= 0 and self._may_look(now):
                await self._look(key.namespace, one, seen)
        again = min(_due_in(seen, now) for seen in mine.values())
        if again <= 0:  # the limit for all resources has no room
            again = FIRST_SECONDS
        found = tuple(_answer(one, seen, now) for one, seen in mine.items())
        return Answers(found, max(again, self._forbidden_until - now))

    def _may_look(self, now: float) -> bool:
        """Whether the limit for all resources has room; takes it."""
        self._looks = min(BURST, self._looks + (now - self._filled_at) * LOOKS_PER_SECOND)
        self._filled_at = now
        if self._looks < 1 or now < self._forbidden_until:
            return False
        self._looks -= 1
        return True

    async def _look(self, namespace: str, stuck: Stuck, seen: _Seen) -> None:
        """Read the events of one object. Those that ran out of their hour do not undo what they said."""
        seen.asked_at = self._clock()
        if stuck.what == "ending pod":  # what is wrong with its node, no event of the pod says
            return
        events = await self._read(namespace, stuck, _selector(stuck))
        if events and stuck.what == "suspended":
            await self._look_at_workload(namespace, stuck, seen, find_workload(events))
            return
        if events is None:
            return
        seen.silent = not events and (seen.silent or seen.note is None)
        if events:
            seen.trouble, seen.note = find_trouble(events), find_newest(events)

    async def _look_at_workload(self, namespace: str, stuck: Stuck, seen: _Seen, workload: str) -> None:
        """Read what Kueue says on the Workload that it made for a Job; empty: it made none."""
        theirs = f"involvedObject.kind=Workload,involvedObject.name={workload}"
        events = await self._read(namespace, stuck, theirs) if workload else []
        if events is None:
            return
        seen.silent = not workload
        if workload:
            where = Words("NoEvent", f"kubectl describe workload {workload} says why")
            seen.note = find_newest(events) or seen.note or where

    async def _read(self, namespace: str, stuck: Stuck, selector: str) -> Sequence[JsonObject] | None:
        """The events that a selector finds; None where they cannot be read."""
        where = {"stuck": stuck.what, "object": stuck.name, "namespace": namespace}
        try:
            return await self._api.events(namespace, selector)
        except ForbiddenError:
            self._forbidden_until = self._clock() + FORBIDDEN_SECONDS
            log.warning("events may not be read: pods that cannot start do not say why", extra=where)
        except (InfrastructureError, NotFoundError) as error:
            log.debug("no events", extra=where | {"error": str(error)})
        return None


def _selector(stuck: Stuck) -> str:
    if stuck.what == "missing ray pods":  # the operator reads no RayClusters, and KubeRay writes to theirs
        return f"involvedObject.kind=RayCluster,involvedObject.name={stuck.name}"
    return f"involvedObject.uid={stuck.uid}"


def _due_in(seen: _Seen, now: float) -> float:
    """Seconds until something stuck is to be looked at."""
    if seen.asked_at is None:
        return seen.since + FIRST_SECONDS - now
    shortest, longest = PAUSE_SECONDS
    return seen.asked_at + min(longest, max(shortest, (now - seen.since) / 12)) - now


def _answer(stuck: Stuck, seen: _Seen, now: float) -> Answer:
    """Words, or that there are none where there should be some."""
    if stuck.what == "ending pod":
        return Answer(stuck, _not_ended(stuck) if now - seen.since >= ENDING_SECONDS else None, None)
    if not seen.silent or now - seen.since < SILENT_SECONDS:
        return Answer(stuck, seen.trouble, seen.note)
    if stuck.what == "suspended":
        text = "Kueue has made no Workload for it: look whether Kueue runs and the LocalQueue exists"
        return Answer(stuck, None, Words("NotQueued", text))
    if stuck.what != "pending pod":
        return Answer(stuck, None, None)
    if stuck.scheduler:
        return Answer(stuck, Words(NO_SCHEDULER, f"scheduler {stuck.scheduler} has not looked at it"), None)
    return Answer(stuck, Words(NOT_STARTED, "its node has not started it, and no event says why"), None)


def _not_ended(stuck: Stuck) -> Words:
    node = f"node {stuck.node}" if stuck.node else "its node"
    return Words(
        "NotEnded", f"it is to end, and {node} does not say that it has; no other pod is made before"
    )


def with_words(failures: Mapping[str, PodFailure], answers: Iterable[Answer]) -> dict[str, PodFailure]:
    """The failures of a resource's children, and what the cluster says about those that do not move.

    That is newer than the last words of pods that are over; what a pod that is still there says itself, such
    as that no node has room, is kept and added to.
    """
    found = dict(failures)
    told = set()
    # What an event of the pod says comes first, then what its claims say, then that nothing says anything.
    for answer in sorted(answers, key=_rank):
        child, words = answer.stuck.child, answer.trouble
        if words is None or answer.stuck.what == "suspended" or child in told:
            continue
        told.add(child)
        found[child] = _failure(answer.stuck, words, found.get(child))
    return found


def _rank(answer: Answer) -> int:
    if answer.trouble is not None and answer.trouble.reason in SILENCES:
        return 2
    return 1 if answer.stuck.what == "unbound claim" else 0


def _failure(stuck: Stuck, words: Words, before: PodFailure | None) -> PodFailure:
    if stuck.what in {"pending pod", "ending pod"}:
        return PodFailure(stuck.name, "", None, words.reason, words.message)
    if stuck.what != "unbound claim":
        return PodFailure("", "", None, words.reason, words.message)
    text = f"PersistentVolumeClaim {stuck.name}: {words.reason}: {words.message}"
    if before is not None and before.exit_code is None:
        return replace(before, message=f"{before.message} {text}".strip())
    return PodFailure("", "", None, words.reason, text)


def find_waits(answers: Iterable[Answer]) -> dict[str, str]:
    """What the pods of children wait for where nothing is wrong, by the child's name."""
    return {
        answer.stuck.child: answer.note.message
        for answer in answers
        if answer.note is not None and (answer.stuck.what == "suspended" or answer.trouble is None)
    }
