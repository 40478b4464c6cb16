"""Kubernetes events: in the background, each (resource, reason, message) once.

The event's name is a hash of what it says, so that an operator that starts again does not repeat itself: the
API server answers 409 for an event that it still keeps.
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from safety_operator import metrics
from safety_operator.api import API_VERSION
from safety_operator.cluster.client import Api
from safety_operator.cluster.kinds import EVENT
from safety_operator.errors import ConflictError, InfrastructureError
from safety_operator.state.keys import Key, Manifest
from safety_operator.state.labels import MANAGED_BY
from safety_operator.state.plan import Event

log = logging.getLogger(__name__)

MAX_WAITING = 2000
"""Events that wait to be sent; more are dropped and counted: they inform, nothing rests on them."""
MAX_SEEN = 20000
"""Names of events that are remembered before the memory is emptied."""
MAX_NOTE = 1000
"""Characters of an event's text; the API server takes 1,024."""


class Recorder:
    """Sends events."""

    def __init__(self, api: Api, instance: str) -> None:
        self._api = api
        self._instance = instance[:128]
        self._queue: asyncio.Queue[tuple[Key, dict[str, object]]] = asyncio.Queue(MAX_WAITING)
        self._seen: set[str] = set()

    def record(self, key: Key, resource: Manifest, events: Iterable[Event]) -> None:
        """Queue those events that are new."""
        for event in events:
            name = _event_name(key, resource, event)
            if name in self._seen:
                continue
            if len(self._seen) >= MAX_SEEN:
                self._seen.clear()
            self._seen.add(name)
            if self._queue.full():
                metrics.EVENTS.labels("dropped").inc()
                continue
            self._queue.put_nowait((key, self._manifest(key, resource, event, name)))

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            key, manifest = await self._queue.get()
            try:
                await self._api.create(EVENT, key.namespace, manifest)
                metrics.EVENTS.labels("sent").inc()
            except ConflictError:
                metrics.EVENTS.labels("known").inc()
            except InfrastructureError as error:
                metrics.EVENTS.labels("failed").inc()
                log.warning("event not sent", extra={"key": "/".join(key), "error": str(error)})

    def _manifest(self, key: Key, resource: Manifest, event: Event, name: str) -> dict[str, object]:
        return {
            "apiVersion": EVENT.api_version,
            "kind": "Event",
            "metadata": {"name": name, "namespace": key.namespace},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": event.type,
            "reason": event.reason[:128],
            "note": event.message[:MAX_NOTE],
            "action": "Reconcile",
            "reportingController": MANAGED_BY,
            "reportingInstance": self._instance,
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": key.kind,
                "namespace": key.namespace,
                "name": key.name,
                "uid": resource["metadata"]["uid"],
            },
        }


def _event_name(key: Key, resource: Manifest, event: Event) -> str:
    said = "\0".join((resource["metadata"]["uid"], event.type, event.reason, event.message))
    return f"{key.name}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"
