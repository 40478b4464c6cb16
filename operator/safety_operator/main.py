"""Puts the operator together, runs it, and ends it.

Order of life: probes first; then the Lease; then the watches; workers once everything is listed. Order of
the end: workers and watches, the Lease given back, Kopf last, since it cancels any task that it finds.
"""

import asyncio
import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any, cast

import kopf
import uvloop

from safety_operator import logs
from safety_operator.api import API_VERSION
from safety_operator.cluster.access import find_access
from safety_operator.cluster.client import Api
from safety_operator.cluster.events import Recorder
from safety_operator.cluster.informer import Informer
from safety_operator.cluster.kinds import OPTIONAL, OWNERS, WATCHES
from safety_operator.cluster.lease import Lease
from safety_operator.cluster.optional import OptionalWatch
from safety_operator.cluster.store import NeedsOf, Store
from safety_operator.errors import InfrastructureError, LeaseLostError, OperatorError, SettingsError
from safety_operator.handlers.health import HealthServer
from safety_operator.handlers.queue import KeyedQueue
from safety_operator.handlers.reconcile import Planner, Reconciler, work
from safety_operator.handlers.watch import ResourceWatch, kopf_settings
from safety_operator.planning import dispatch
from safety_operator.settings import Settings, find_unknown

log = logging.getLogger(__name__)

CRD_RETRY_SECONDS = 2.0
"""Pause between two looks for the CustomResourceDefinitions."""
RELEASE_SECONDS = 1.5
KOPF_EXIT_SECONDS = 1.5
"""Longest waits at the end; together below the 5 s that a node gives without asking."""


class Operator:
    """All parts, wired."""

    def __init__(self, settings: Settings, api: Api, needs: NeedsOf, plan: Planner) -> None:
        self._settings = settings
        self._api = api
        self._queue = KeyedQueue()
        self._store = Store(needs, self._queue.add)
        self._recorder = Recorder(api, settings.identity)
        self._reconciler = Reconciler(
            api=api,
            store=self._store,
            queue=self._queue,
            recorder=self._recorder,
            plan=plan,
            settings=settings.for_planning(),
        )
        self._watch = ResourceWatch(
            api, self._store, self._queue, self._reconciler.forget, settings.namespaces
        )
        self._informers = [
            Informer(api, spec, namespace, functools.partial(self._store.object_changed, spec.kind.kind))
            for spec in WATCHES
            for namespace in settings.namespaces or (None,)
        ]
        self._optional = [
            OptionalWatch(
                api,
                kind,
                settings.namespaces or (None,),
                functools.partial(self._store.object_changed, kind.kind),
                self._store.set_optional,
            )
            for kind in OPTIONAL.values()
        ]
        self._lease = Lease(
            api,
            namespace=settings.operator_namespace,
            name=settings.lease_name,
            identity=settings.identity,
            seconds=settings.lease_seconds,
        )
        self._api.may_write = self._lease.fresh.is_set
        self._started_at: float | None = None
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises OperatorError when it must end for another reason."""
        silence = self._settings.watch_silence_seconds
        health = HealthServer(self._heard, silence, self._store.resources)
        await health.start(self._settings.http_host, self._settings.http_port)
        self._catch_signals()
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        lead = asyncio.create_task(self._lead(), name="lead")
        try:
            await asyncio.wait({stop, lead}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not lead.done():
                lead.cancel()
            await asyncio.wait({lead})
            await health.stop()
        if not lead.cancelled() and (error := lead.exception()) is not None:
            raise error

    async def _lead(self) -> None:
        """Hold the Lease and work; whatever part ends first ends the rest."""
        tasks: list[asyncio.Task[object]] = []
        kopf_stop = asyncio.Event()
        kopf_task: asyncio.Task[None] | None = None
        try:
            if self._settings.leader_election:
                await self._lease.acquire()
                tasks.append(asyncio.create_task(self._lease.hold(), name="lease"))
            else:
                self._lease.fresh.set()
            tasks += [asyncio.create_task(i.run(), name=i.name) for i in self._informers]
            tasks += [asyncio.create_task(watch.run(), name=watch.name) for watch in self._optional]
            tasks.append(asyncio.create_task(self._recorder.run(), name="events"))
            tasks.append(asyncio.create_task(self._work(), name="workers"))
            kopf_task = asyncio.create_task(self._run_kopf(kopf_stop), name="kopf")
            done, _ = await asyncio.wait({*tasks, kopf_task}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (error := task.exception()) is not None:
                    raise error
                raise OperatorError(f"{task.get_name()} ended by itself")
        finally:
            await self._wind_down(tasks, kopf_task, kopf_stop)

    async def _wind_down(
        self,
        tasks: list[asyncio.Task[object]],
        kopf_task: asyncio.Task[None] | None,
        kopf_stop: asyncio.Event,
    ) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        try:
            await asyncio.wait_for(self._lease.release(), RELEASE_SECONDS)
        except TimeoutError:
            log.warning("no time left to give the Lease back")
        kopf_stop.set()
        if kopf_task is not None:
            await asyncio.wait({kopf_task}, timeout=KOPF_EXIT_SECONDS)
            kopf_task.cancel()

    async def _run_kopf(self, stop: asyncio.Event) -> None:
        await self._wait_for_crds()
        self._started_at = time.monotonic()
        spare = set(asyncio.all_tasks())
        tasks = await kopf.spawn_tasks(
            registry=self._watch.registry(),
            settings=kopf_settings(),
            standalone=True,
            clusterwide=not self._settings.namespaces,
            namespaces=self._settings.namespaces,
            stop_flag=stop,
            # Without it Kopf asks the system for the user's name, which made-up uids do not have.
            identity=cast("Any", self._settings.identity),
        )
        # Kopf has just taken the signals for itself; the end is ours to arrange.
        self._catch_signals()
        await kopf.run_tasks(tasks, ignored=spare)

    async def _work(self) -> None:
        """Run the workers once nothing is unknown any more."""
        for informer in self._informers:
            await informer.synced.wait()
        await self._watch.listed.wait()
        for watch in self._optional:
            await watch.looked.wait()
        log.info("all watches are listed", extra={"resources": len(self._store.resources)})
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.workers):
                group.create_task(work(self._queue, self._reconciler, self._lease.fresh))

    async def _wait_for_crds(self) -> None:
        """Kopf looks for the kinds once: wait until they are there."""
        wanted = {kind.plural for kind in OWNERS.values()}
        while True:
            try:
                missing = wanted - await self._api.served(API_VERSION)
                if not missing:
                    return
                log.warning(
                    "CustomResourceDefinitions are missing: set crds.install of the chart, or apply crds/",
                    extra={"missing": sorted(missing)},
                )
            except InfrastructureError as error:
                log.warning("cannot reach the API server", extra={"error": str(error)})
            await asyncio.sleep(CRD_RETRY_SECONDS)

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    def _heard(self) -> Mapping[str, float]:
        """When each watch and the Lease were last heard of."""
        lease = {"lease": self._lease.looked_at} if self._settings.leader_election else {}
        if self._started_at is None:
            return lease
        # A watch that was never heard of counts from the start: Kopf must not fail in silence.
        scopes = self._settings.namespaces or (None,)
        owners = {kind.path(scope): self._started_at for kind in OWNERS.values() for scope in scopes}
        return lease | owners | {i.name: i.heard_at for i in self._informers} | self._watch.health.heard_at


async def operate(settings: Settings) -> None:
    """Run the operator with the real planners."""
    api = Api(find_access())
    plan_settings = settings.for_planning()
    needs = functools.partial(dispatch.needs, settings=plan_settings)
    try:
        await Operator(settings, api, needs, dispatch.plan).run()
    finally:
        await api.close()


def main() -> int:
    """Read the settings, run, and give the exit code."""
    began = time.monotonic()
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        logs.configure("INFO")
        log.error("wrong settings", extra={"error": str(error)})  # noqa: TRY400 - the message says it all
        return 2
    logs.configure(settings.log_level)
    if unknown := find_unknown(os.environ):
        log.warning("unknown settings, which have no effect", extra={"variables": unknown})
    log.info("starting", extra={"namespaces": settings.namespaces or "all"})
    try:
        # The event loop that Kopf recommends: a tenth less CPU than Python's own.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(operate(settings))
    except LeaseLostError as error:
        log.error("lost the Lease", extra={"error": str(error)})  # noqa: TRY400 - the message says it all
        return 1
    except OperatorError as error:
        log.exception("ended", extra={"error": str(error)})
        return 1
    log.info("stopped", extra={"after_seconds": round(time.monotonic() - began, 1)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
