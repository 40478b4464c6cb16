"""One list+watch that keeps a picture of a collection and tells what changed.

Kopf watches the four kinds; children are watched here, because a list after a gap (410, an API server that
came back) has to be compared with the picture: what is missing in it was deleted, and no event says so.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable

from safety_operator import metrics
from safety_operator.cluster.client import Api, JsonObject
from safety_operator.cluster.kinds import WatchSpec
from safety_operator.cluster.ray_jobs import as_job
from safety_operator.errors import ApiError, ApiUnreachableError, GoneError, InfrastructureError
from safety_operator.state.labels import LABEL_MANAGED_BY, MANAGED_BY

log = logging.getLogger(__name__)

WATCH_SECONDS = (240, 360)
"""Range of a watch request's length, drawn anew each time so that watches do not all return at once."""
BACKOFF_SECONDS = (0.2, 20.0)
"""First and longest pause after a failure; doubled each time, with jitter."""
SHORTEST_WATCH_SECONDS = 1.0
"""A watch that ends sooner without an event has failed, and is not repeated at once."""

Changed = Callable[[JsonObject | None, JsonObject | None], None]
"""Called with the object before (None: new) and after (None: deleted)."""


def object_id(obj: JsonObject) -> tuple[str, str]:
    """Give namespace and name."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def is_newer(obj: JsonObject, than: JsonObject) -> bool:
    """Whether ``obj`` is a later version of the same object (KEP-5504: resource versions are comparable)."""
    return int(obj["metadata"]["resourceVersion"]) > int(than["metadata"]["resourceVersion"])


class Informer:
    """A picture of one collection in one namespace (None: all)."""

    def __init__(self, api: Api, spec: WatchSpec, namespace: str | None, changed: Changed) -> None:
        self._api = api
        self._spec = spec
        self._namespace = namespace
        self._changed = changed
        self.objects: dict[tuple[str, str], JsonObject] = {}
        self._version = ""
        """Resource version up to which changes are known; empty: a list is needed."""
        self.synced = asyncio.Event()
        self.heard_at = time.monotonic()
        self.name = f"{spec.kind.plural}/{namespace or '*'}"

    async def run(self) -> None:
        """Keep the picture true until cancelled."""
        self.heard_at = time.monotonic()
        pause = BACKOFF_SECONDS[0]
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                pause = BACKOFF_SECONDS[0]
                continue
            except GoneError:
                log.info("watch too old, listing again", extra={"watch": self.name})
                self._version = ""
            except InfrastructureError as error:
                log.warning("watch failed", extra={"watch": self.name, "error": str(error)})
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            pause = min(pause * 2, BACKOFF_SECONDS[1])

    async def _list(self) -> None:
        listing = await self._api.list(
            self._spec.kind,
            self._namespace,
            selector=self._spec.selector,
            metadata_only=self._spec.metadata_only,
            # A cache may lag behind what is known, and what it lacks would be told as deleted.
            newest=self.synced.is_set(),
        )
        self.heard_at = time.monotonic()
        fresh = {object_id(item): trim(self._spec.kind.kind, item) for item in listing["items"]}
        for key in self.objects.keys() - fresh.keys():
            self._changed(self.objects.pop(key), None)
        for key, item in fresh.items():
            self._store(key, item)
        if self.synced.is_set():
            metrics.WATCH_RESTARTS.labels(self.name).inc()
        self.synced.set()
        self._version = listing["metadata"]["resourceVersion"]

    async def _watch(self) -> None:
        """Follow events until the server ends the stream."""
        began, version = time.monotonic(), self._version
        stream = self._api.watch(
            self._spec.kind,
            self._namespace,
            selector=self._spec.selector,
            resource_version=version,
            timeout_seconds=random.randint(*WATCH_SECONDS),  # noqa: S311 - jitter
            metadata_only=self._spec.metadata_only,
        )
        async for event in stream:
            self.heard_at = time.monotonic()
            obj = event["object"]
            if event["type"] == "ERROR":
                raise ApiError.of(
                    obj.get("code", 500), obj.get("reason", ""), obj.get("message", ""), request="watch"
                )
            self._version = obj["metadata"]["resourceVersion"]
            if event["type"] == "BOOKMARK":
                continue
            key, trimmed = object_id(obj), trim(self._spec.kind.kind, obj)
            if event["type"] == "DELETED":
                self._changed(self.objects.pop(key, None) or trimmed, None)
            else:
                self._store(key, trimmed)
        if self._version == version and time.monotonic() - began < SHORTEST_WATCH_SECONDS:
            raise ApiUnreachableError(f"watch of {self.name} ended at once")

    def _store(self, key: tuple[str, str], obj: JsonObject) -> None:
        known = self.objects.get(key)
        if known is not None and not is_newer(obj, known):
            return
        self.objects[key] = obj
        self._changed(known, obj)


def without_managed_fields(obj: JsonObject) -> JsonObject:
    """Drop what nobody here reads and what is often the largest part."""
    obj["metadata"].pop("managedFields", None)
    return obj


def trim_pod(pod: JsonObject) -> JsonObject:
    """Keep a pod's identity, its containers' names, its claims, its scheduler, its node and its status."""
    meta = pod["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")
    status, spec = pod.get("status", {}), pod.get("spec", {})
    containers = [{"name": c["name"]} for c in spec.get("containers", ())]
    claims = [v for v in spec.get("volumes", ()) if "persistentVolumeClaim" in v]
    return {
        "metadata": {k: meta[k] for k in (*kept, "labels", "ownerReferences") if k in meta},
        "spec": {
            "containers": containers,
            "volumes": claims,
            "schedulerName": spec.get("schedulerName", ""),
            "nodeName": spec.get("nodeName", ""),
        },
        "status": {
            k: status[k]
            for k in (
                "phase",
                "reason",
                "message",
                "conditions",
                "containerStatuses",
                "initContainerStatuses",
            )
            if k in status
        },
    }


def trim_job(job: JsonObject) -> JsonObject:
    """Drop the pod template: Jobs are made once and never compared, and it is most of them."""
    job.get("spec", {}).pop("template", None)
    return without_managed_fields(job)


def trim_config_map(config_map: JsonObject) -> JsonObject:
    """Keep of other people's ConfigMaps only that they exist: kubectl's annotation repeats all their data."""
    meta = config_map["metadata"]
    if (meta.get("labels") or {}).get(LABEL_MANAGED_BY) == MANAGED_BY:
        return without_managed_fields(config_map)
    return {"metadata": {k: meta[k] for k in ("namespace", "name", "uid", "resourceVersion")}}


_TRIMS: dict[str, Callable[[JsonObject], JsonObject]] = {
    "Pod": trim_pod,
    "Job": trim_job,
    "RayJob": as_job,
    "ConfigMap": trim_config_map,
}


def trim(kind: str, obj: JsonObject) -> JsonObject:
    """Cut an object of a kind down to what is used of it; the rest lose their managedFields only."""
    return _TRIMS.get(kind, without_managed_fields)(obj)
