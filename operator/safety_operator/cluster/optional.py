"""Kinds of others are watched where the API server has them: they may come and go at any time."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from safety_operator.cluster.client import Api
from safety_operator.cluster.informer import Changed, Informer
from safety_operator.cluster.kinds import OURS, ApiKind, WatchSpec
from safety_operator.errors import ForbiddenError, InfrastructureError

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""Pause between two looks whether a kind is there; a discovery request, which everybody may make."""
RETRY_SECONDS = 2.0
"""The same after the API server did not answer."""


class OptionalWatch:
    """Watches objects of ours, of a kind of others, once the API server has that kind.

    Parameters
    ----------
    api
        The client.
    kind
        What is watched, such as KubeRay's RayJobs.
    namespaces
        Those that are watched; None: all.
    changed
        As for an informer.
    appeared
        Called with the kind and whether there are such objects to be seen, when that changes.
    """

    def __init__(
        self,
        api: Api,
        kind: ApiKind,
        namespaces: tuple[str | None, ...],
        changed: Changed,
        appeared: Callable[[str, bool], None],
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._api = api
        self._kind = kind
        self._namespaces = namespaces
        self._changed = changed
        self._appeared = appeared
        self._look_seconds = look_seconds
        self.name = f"optional/{kind.plural}"
        self.looked = asyncio.Event()
        """Set once it is known whether the kind is there, and which objects of ours."""

    async def run(self) -> None:
        """Look, watch while there is something to watch, look again; until cancelled."""
        while True:
            try:
                usable = await self._usable()
            except InfrastructureError as error:
                log.warning("cannot look for %s", self._kind.kind, extra={"error": str(error)})
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if usable:
                await self._watch()
            self.looked.set()
            await asyncio.sleep(self._look_seconds)

    async def _usable(self) -> bool:
        """Whether the API server has the kind and lets us see its objects."""
        if self._kind.plural not in await self._api.served(self._kind.api_version):
            return False
        try:
            for namespace in self._namespaces:
                await self._api.list(self._kind, namespace, selector=OURS, metadata_only=True)
        except ForbiddenError as error:
            log.info("%s may not be read, so it is not used", self._kind.kind, extra={"error": str(error)})
            return False
        return True

    async def _watch(self) -> None:
        """Watch until the API server does not have the kind any more."""
        informers = [
            Informer(self._api, WatchSpec(self._kind, OURS), namespace, self._changed)
            for namespace in self._namespaces
        ]
        gone = asyncio.create_task(self._until_gone(), name=f"until-{self._kind.plural}-are-gone")
        listed = asyncio.create_task(self._listed(informers), name=f"{self._kind.plural}-are-listed")
        tasks = [asyncio.create_task(informer.run(), name=informer.name) for informer in informers]
        try:
            # They may go before they were listed, for which the operator waits with everything.
            await asyncio.wait((gone, listed), return_when=asyncio.FIRST_COMPLETED)
            if listed.done():
                log.info("%s is watched and can be used", self._kind.kind)
                self._appeared(self._kind.kind, True)
                self.looked.set()
            await gone
            log.warning("the API server does not have %s any more", self._kind.kind)
        finally:
            for task in (gone, listed, *tasks):
                task.cancel()
            await asyncio.wait((gone, listed, *tasks))
        for informer in informers:
            for lost in list(informer.objects.values()):
                self._changed(lost, None)
        self._appeared(self._kind.kind, False)

    async def _listed(self, informers: list[Informer]) -> None:
        for informer in informers:
            await informer.synced.wait()

    async def _until_gone(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            with contextlib.suppress(InfrastructureError):
                if self._kind.plural not in await self._api.served(self._kind.api_version):
                    return
