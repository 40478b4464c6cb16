"""RayJobs are watched where the API server has them: KubeRay may be installed and removed at any time."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from safety_operator.cluster.client import Api
from safety_operator.cluster.informer import Changed, Informer
from safety_operator.cluster.kinds import OURS, RAY_JOB, WatchSpec
from safety_operator.errors import ForbiddenError, InfrastructureError

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""Pause between two looks whether KubeRay is there; a discovery request, which everybody may make."""
RETRY_SECONDS = 2.0
"""The same after the API server did not answer."""


class RayJobWatch:
    """Watches RayJobs of ours once the API server has them.

    Parameters
    ----------
    api
        The client.
    namespaces
        Those that are watched; None: all.
    changed
        As for an informer.
    appeared
        Called with whether there are RayJobs to be seen, when that changes.
    """

    def __init__(
        self,
        api: Api,
        namespaces: tuple[str | None, ...],
        changed: Changed,
        appeared: Callable[[bool], None],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._api = api
        self._namespaces = namespaces
        self._changed = changed
        self._appeared = appeared
        self._look_seconds = look_seconds
        self.looked = asyncio.Event()
        """Set once it is known whether there are RayJobs, and which."""

    async def run(self) -> None:
        """Look, watch while there is something to watch, look again; until cancelled."""
        while True:
            try:
                usable = await self._usable()
            except InfrastructureError as error:
                log.warning("cannot look for RayJobs", extra={"error": str(error)})
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if usable:
                await self._watch()
            self.looked.set()
            await asyncio.sleep(self._look_seconds)

    async def _usable(self) -> bool:
        """Whether the API server has RayJobs and lets us see them."""
        if RAY_JOB.plural not in await self._api.served(RAY_JOB.api_version):
            return False
        try:
            for namespace in self._namespaces:
                await self._api.list(RAY_JOB, namespace, selector=OURS, metadata_only=True)
        except ForbiddenError as error:
            log.info("RayJobs may not be read: launcher kuberay is off", extra={"error": str(error)})
            return False
        return True

    async def _watch(self) -> None:
        """Watch until the API server has no RayJobs any more."""
        informers = [
            Informer(self._api, WatchSpec(RAY_JOB, OURS), namespace, self._changed)
            for namespace in self._namespaces
        ]
        gone = asyncio.create_task(self._until_gone(), name="until-rayjobs-are-gone")
        listed = asyncio.create_task(self._listed(informers), name="rayjobs-are-listed")
        tasks = [asyncio.create_task(informer.run(), name=informer.name) for informer in informers]
        try:
            # They may go before they were listed, for which the operator waits with everything.
            await asyncio.wait((gone, listed), return_when=asyncio.FIRST_COMPLETED)
            if listed.done():
                log.info("RayJobs are watched: launcher kuberay can be used")
                self._appeared(True)
                self.looked.set()
            await gone
            log.warning("the API server has no RayJobs any more")
        finally:
            for task in (gone, listed, *tasks):
                task.cancel()
            await asyncio.wait((gone, listed, *tasks))
        for informer in informers:
            for lost in list(informer.objects.values()):
                self._changed(lost, None)
        self._appeared(False)

    async def _listed(self, informers: list[Informer]) -> None:
        for informer in informers:
            await informer.synced.wait()

    async def _until_gone(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            with contextlib.suppress(InfrastructureError):
                if RAY_JOB.plural not in await self._api.served(RAY_JOB.api_version):
                    return
