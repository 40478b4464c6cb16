"""Kopf's part: watch the four kinds, put each change into the store and its key on the queue.

Only ``on.event`` and an index are used: neither writes to the resources. The index is a barrier: Kopf calls
no event handler before all kinds are listed, so no planner misses a reference that is there.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import kopf

from safety_operator.api import GROUP, VERSION
from safety_operator.cluster.client import Api, JsonObject
from safety_operator.cluster.kinds import OWNERS
from safety_operator.cluster.store import Store, key_of
from safety_operator.errors import InfrastructureError
from safety_operator.handlers.queue import KeyedQueue
from safety_operator.handlers.watch_health import WatchHealth
from safety_operator.state.keys import Key

log = logging.getLogger(__name__)

PURGE_RETRY_SECONDS = 5.0
"""Pause before deletions are looked for again after the API server failed."""


class ResourceWatch:
    """The four kinds, through Kopf."""

    def __init__(
        self,
        api: Api,
        store: Store,
        queue: KeyedQueue,
        forget: Callable[[Key], None],
        namespaces: tuple[str, ...],
    ) -> None:
        self._api = api
        self._store = store
        self._queue = queue
        self._forget = forget
        self._namespaces = namespaces
        self._fresh: set[Key] = set()
        self._purges: set[asyncio.Task[None]] = set()
        self.listed = asyncio.Event()
        """Set with the first event: from then on all references are known."""
        self.health = WatchHealth({kind.plural: kind.kind for kind in OWNERS.values()}, self._relisted)

    def registry(self) -> kopf.OperatorRegistry:
        """Build the handlers."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for kind in OWNERS.values():
            selector = (GROUP, VERSION, kind.plural)
            kopf.index(*selector, id=f"seen-{kind.plural}", registry=registry)(self._index)
            kopf.on.event(*selector, registry=registry)(self._event)
        return registry

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        session = self._api.session_for(self.health.response_class())
        return kopf.AiohttpSession(server=self._api.server, aiohttp_session=session)

    async def _index(self, body: Mapping[str, Any], **_: Any) -> None:
        resource = dict(body)
        key = key_of(resource)
        before = self._store.resources.get(key)
        if self._store.put_resource(resource) and not self._is_echo(key, before, resource):
            self._fresh.add(key)

    def _is_echo(self, key: Key, before: JsonObject | None, resource: JsonObject) -> bool:
        """Whether this is our own status patch, seen before its answer. Its generation is the one before."""
        if before is None or key not in self._store.writing:
            return False
        same = ("uid", "generation", "deletionTimestamp", "annotations")
        return all(before["metadata"].get(k) == resource["metadata"].get(k) for k in same)

    async def _event(self, event: Mapping[str, Any], **_: Any) -> None:
        self.listed.set()
        resource: JsonObject = event["object"]
        key = key_of(resource)
        if event["type"] == "DELETED":
            if self._store.drop_resource(key, resource["metadata"]["uid"]):
                log.info("deleted", extra={"key": "/".join(key)})
                self._forget(key)
        elif key in self._fresh:
            # What is not fresh is the echo of our own status patch.
            self._fresh.discard(key)
            self._queue.add(key, urgent=not resource.get("status"))

    def _relisted(self, kind: str) -> None:
        task = asyncio.create_task(self._purge(kind))
        self._purges.add(task)
        task.add_done_callback(self._purges.discard)

    async def _purge(self, kind: str) -> None:
        """Find what was deleted while the watch was away: Kopf's list has what exists, and no more."""
        while True:
            known = self._store.known(kind)
            try:
                present = {
                    pair
                    for namespace in self._namespaces or (None,)
                    for pair in await self._list(kind, namespace)
                }
            except InfrastructureError as error:
                log.warning("cannot look for deletions", extra={"kind": kind, "error": str(error)})
                await asyncio.sleep(PURGE_RETRY_SECONDS)
                continue
            for key, uid in known - present:
                if self._store.drop_resource(key, uid):
                    log.info("was deleted while the watch was away", extra={"key": "/".join(key)})
                    self._forget(key)
            return

    async def _list(self, kind: str, namespace: str | None) -> list[tuple[Key, str]]:
        listing = await self._api.list(OWNERS[kind], namespace, metadata_only=True, newest=True)
        metas = (item["metadata"] for item in listing["items"])
        return [(Key(kind, meta["namespace"], meta["name"]), meta["uid"]) for meta in metas]


class _NoDiffs(kopf.DiffBaseStorage):
    """Keeps Kopf from copying and comparing each resource: no handler here asks what changed."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:  # noqa: ARG002 - Kopf's
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002 - Kopf's
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Keep nothing."""


def kopf_settings() -> kopf.OperatorSettings:
    """Give Kopf's settings: quiet, quick, with an end to every wait."""
    settings = kopf.OperatorSettings()
    settings.posting.level = logging.WARNING
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 0.5
    settings.queueing.exit_timeout = 0.5
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 15
    settings.watching.inactivity_timeout = 150
    settings.networking.request_timeout = 20
    settings.networking.connect_timeout = 15
    settings.networking.error_backoffs = (0.2, 0.5, 1, 2, 5)
    settings.persistence.finalizer = f"{GROUP}/finalizer"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.process.ultimate_exiting_timeout = 10
    return settings
