"""One reconcile: gather, plan, apply, write status, tell events. And the workers that do it.

Whatever fails is tried again by its class: what the network or the API server did, with back-off; what the
spec did, only when something changes; a bug is logged with its traceback and backs off for its key only.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from safety_operator import metrics
from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.cluster.apply import Applied, Applier
from safety_operator.cluster.client import Api
from safety_operator.cluster.events import Recorder
from safety_operator.cluster.gather import gather
from safety_operator.cluster.kinds import OWNERS
from safety_operator.cluster.lookups import Lookups
from safety_operator.cluster.outside import OutsideProbes
from safety_operator.cluster.ownership import Obstacle
from safety_operator.cluster.status import with_obstacles, with_refusals, write_status
from safety_operator.cluster.store import Store
from safety_operator.errors import ConflictError, NotFoundError, OperatorError
from safety_operator.handlers.queue import KeyedQueue
from safety_operator.state.keys import Key
from safety_operator.state.observed import Observed
from safety_operator.state.plan import Event, Plan
from safety_operator.state.reading import is_terminating
from safety_operator.state.settings import PlanSettings

log = logging.getLogger(__name__)

Planner = Callable[[Observed, PlanSettings, datetime], Plan]
MISSING_SECONDS = 3.0
"""Pause between two looks for a Secret that is missing; the only thing that is waited for without a watch."""
STALLED_SECONDS = 30.0
"""Pause between two looks for another version of a Secret while a resource that uses it is stalled: no watch
tells that a wrong token was corrected."""
REFUSED_SECONDS = 30.0
"""Pause before a child that a quota or an admission policy refused is tried again."""

CONFLICT_SECONDS = 2.0
"""Pause from which on a conflict is logged as a warning: several fresh looks have not ended it."""
OBSTACLE_SECONDS = 5.0
"""Pause between two looks at an object that has the name of a child."""

DEFERRED_SECONDS = 1.0
"""How long a status waits while others have no child yet."""
MAX_ROUNDS = 3
"""Rounds of gather, plan, apply at a time; a plan that still wants more goes back into the queue."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What one round saw, decided and did."""

    observed: Observed
    plan: Plan
    outcome: Applied
    now: datetime

    @property
    def wants_more(self) -> bool:
        """Whether another round may see something new: this one wrote, and nothing was refused."""
        return bool(self.outcome.writes) and not self.is_hindered

    @property
    def is_hindered(self) -> bool:
        """Whether a child could not be made."""
        return bool(self.outcome.refusals or self.outcome.obstacles)


class Reconciler:
    """Takes one resource a step closer to what it asks for."""

    def __init__(
        self,
        *,
        api: Api,
        store: Store,
        queue: KeyedQueue,
        recorder: Recorder,
        plan: Planner,
        settings: PlanSettings,
    ) -> None:
        self._api = api
        self._store = store
        self._queue = queue
        self._recorder = recorder
        self._plan = plan
        self._settings = settings
        self._applier = Applier(api, store)
        self._outside = OutsideProbes(api, settings.probe_namespace)
        self._lookups = Lookups(
            api, progress_seconds=settings.progress_seconds, secret_label=settings.secret_label
        )

    def forget(self, key: Key) -> None:
        """Drop all memory of a resource that is gone."""
        self._applier.forget(key)
        self._outside.forget(key)
        self._queue.forget(key)
        self._lookups.events.forget(key)

    async def reconcile(self, key: Key) -> str:
        """Do all that can be done now. Returns the outcome for the metrics: ok, deferred, gone or refused."""
        step = await self._step(key)
        for _ in range(MAX_ROUNDS - 1):
            if step is None or not step.wants_more:
                break
            if self._queue.has_urgent:
                # Others have nothing yet; the status of this one can wait for them.
                self._queue.add_after(key, DEFERRED_SECONDS)
                return "deferred"
            # Look again at once: the status should speak of what was just made.
            step = await self._step(key)
        if step is None:
            return "gone"
        if step.wants_more:
            self._queue.add(key)
        await self._report(key, step)
        await self._outside.clean_up(key, step.plan)
        self._schedule(key, step)
        return "refused" if step.is_hindered else "ok"

    async def _step(self, key: Key) -> _Step | None:
        """Gather, plan, apply. None when the resource is gone."""
        observed = await self._observe(key)
        if observed is None:
            self.forget(key)
            return None
        now = datetime.now(UTC)
        plan = self._plan(observed, self._settings, now)
        if self._applier.vanished(key, observed, plan) and not await self._still_there(
            key, observed.resource["metadata"]["uid"]
        ):
            return None
        try:
            outcome = await self._applier.carry_out(key, observed, plan)
        except NotFoundError:
            # Only the namespace can be missing: the resource goes with it.
            return None
        await self._outside.make(key, plan)
        return _Step(observed, plan, outcome, now)

    async def _observe(self, key: Key) -> Observed | None:
        resource = self._store.resources.get(key)
        if resource is None or is_terminating(resource):
            return None
        if orphans := self._applier.orphans(key):
            # The resource may be the one that is being deleted right now, with its children orphaned.
            if not await self._still_there(key, resource["metadata"]["uid"]):
                return None
            await self._applier.adopt(key, orphans)
        return await gather(key, self._store, self._lookups, self._outside, self._store.needs(key))

    async def _still_there(self, key: Key, uid: str) -> bool:
        """Ask the API server whether the resource exists: its children vanish when it is deleted."""
        try:
            live = await self._api.get(OWNERS[key.kind], key.namespace, key.name, metadata_only=True)
        except NotFoundError:
            live = None
        if live is not None and live["metadata"]["uid"] == uid and not is_terminating(live):
            return True
        self._store.drop_resource(key, uid)
        self.forget(key)
        return False

    async def _report(self, key: Key, step: _Step) -> None:
        plan, outcome = step.plan, step.outcome
        resource = self._store.resources.get(key)
        if resource is None:
            self.forget(key)
            return
        status, events = dict(plan.status), list(plan.events)
        if outcome.obstacles:
            status = with_obstacles(status, outcome.obstacles, resource, step.now)
            events += [
                Event("Warning", Reason.OBJECT_IN_THE_WAY, f"{o.child.kind} {o.child.name}: {o.why}.")
                for o in outcome.obstacles
                if o.is_stuck(step.now)
            ]
        if outcome.refusals:
            status = with_refusals(status, outcome.refusals, resource, step.now)
            events += [
                Event("Warning", Reason.CHILD_REFUSED, f"{r.child.kind}: {r.message}")
                for r in outcome.refusals
            ]
        try:
            await write_status(self._api, self._store, key, resource, status)
        except NotFoundError:
            self._store.drop_resource(key, resource["metadata"]["uid"])
            self.forget(key)
            return
        self._recorder.record(key, resource, events)

    def _schedule(self, key: Key, step: _Step) -> None:
        waits = [step.plan.requeue_after] if step.plan.requeue_after is not None else []
        secrets = step.observed.secrets.values()
        if None in secrets and _truth(step.plan, ConditionType.READY) != "True":
            waits.append(MISSING_SECONDS)
        if secrets and _truth(step.plan, ConditionType.STALLED) == "True":
            waits.append(STALLED_SECONDS)
        if step.observed.look_again is not None:
            waits.append(step.observed.look_again)
        if any(refusal.retryable for refusal in step.outcome.refusals):
            waits.append(REFUSED_SECONDS)
        waits += [_look_again(obstacle, step.now) for obstacle in step.outcome.obstacles]
        if waits:
            self._queue.add_after(key, min(waits))


def _look_again(obstacle: Obstacle, now: datetime) -> float:
    """Give the pause before a look at what is in the way; much of it is not watched, as it is not ours."""
    if obstacle.gone_by is None or obstacle.is_stuck(now):
        return OBSTACLE_SECONDS
    return min(OBSTACLE_SECONDS, (obstacle.gone_by - now).total_seconds())


def _truth(plan: Plan, kind: ConditionType) -> str:
    """Give the status of one of the plan's conditions; empty where there is none."""
    return next((c["status"] for c in plan.status.get("conditions", ()) if c["type"] == kind), "")


async def work(queue: KeyedQueue, reconciler: Reconciler, allowed: asyncio.Event) -> None:
    """Reconcile keys from the queue, while it is allowed, until cancelled."""
    while True:
        key = await queue.get()
        began = time.perf_counter()
        # A task of its own: its failure is looked at, not caught, and cannot end the worker.
        task = asyncio.create_task(_reconcile(reconciler, key, allowed))
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            queue.done(key)
        outcome = _judge(key, task, queue)
        metrics.RECONCILES.labels(key.kind, outcome).inc()
        metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.perf_counter() - began)


async def _reconcile(reconciler: Reconciler, key: Key, allowed: asyncio.Event) -> str:
    # Asked only now: the Lease may have been lost while the queue was empty.
    await allowed.wait()
    return await reconciler.reconcile(key)


def _judge(key: Key, task: asyncio.Task[str], queue: KeyedQueue) -> str:
    error = task.exception()
    where = {"key": "/".join(key)}
    if error is None:
        queue.succeeded(key)
        return task.result()
    if isinstance(error, OperatorError):
        pause = queue.add_failed(key) if error.retryable else 0.0
        # A conflict is everyday life (somebody was faster) and ends with a fresh look, or else it is told.
        everyday = isinstance(error, ConflictError) and pause < CONFLICT_SECONDS
        level = logging.DEBUG if everyday else logging.WARNING
        log.log(
            level,
            "reconcile failed",
            extra=where | {"error": str(error), "again_in_seconds": round(pause, 2)},
        )
        return "infrastructure" if error.retryable else "failed"
    pause = queue.add_failed(key)
    log.error("bug while reconciling", exc_info=error, extra=where | {"again_in_seconds": round(pause, 2)})
    return "bug"
