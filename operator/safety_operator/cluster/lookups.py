"""Live reads of what is not watched: Secrets by existence, ConfigMaps' data, progress in logs.

All are remembered for a moment, so that a burst of reconciles costs one request each, not hundreds.
"""

import logging
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic import ValidationError

from safety_operator.children.worker_job import CONTAINER
from safety_operator.cluster.client import Api, JsonObject
from safety_operator.cluster.event_reader import EventReader
from safety_operator.cluster.informer import without_managed_fields
from safety_operator.cluster.kinds import BUILT_IN
from safety_operator.errors import ForbiddenError, InfrastructureError, NotFoundError
from safety_operator.planning.engine.secrets import UNREADABLE_LABELS, why_withheld
from safety_operator.state.keys import Key
from safety_records.progress import Progress

log = logging.getLogger(__name__)

PRESENT_SECONDS = 20.0
"""How long a Secret that exists is believed to exist unchanged; below the pause of a stalled resource."""
ABSENT_SECONDS = 2.0
"""How long one that is missing is believed to be missing; below the pause between two looks."""
LOG_LINES = 8
"""Last lines of a log that are searched for progress; libraries print lines of their own in between."""
LOG_BYTES = 32768
"""Most bytes of a log that are read; the API server cuts the end, so it must hold all lines."""
UNREADABLE = "unreadable"
"""Instead of a version where the operator may not ask for Secrets."""
MAX_REMEMBERED = 4096
"""Entries of each memory before it is emptied: they are cheap to read again."""
MAX_DATA = 16 * 2**20
"""Characters of all ConfigMaps together that are remembered; each may have a million. The oldest go first."""


class Secret(NamedTuple):
    """What is known of a Secret; never its content."""

    version: str | None
    """Its resource version; None where it does not exist."""
    withheld: str = ""
    """Why resources may not use it; empty if they may."""


class Lookups:
    """Reads with a short memory."""

    def __init__(
        self,
        api: Api,
        *,
        progress_seconds: float,
        secret_label: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secret_label = secret_label
        self._api = api
        self._clock = clock
        self._progress_seconds = progress_seconds * 0.8
        self._secrets: dict[tuple[str, str], tuple[float, Secret]] = {}
        self._data: dict[tuple[str, str], tuple[JsonObject, int]] = {}
        self._progress: dict[str, tuple[float, Progress | None]] = {}
        self.events = EventReader(api, clock=clock)

    async def secret(self, namespace: str, name: str) -> Secret:
        """Give what is known of a Secret. Never asks for its content."""
        now = self._clock()
        at, seen = self._secrets.get((namespace, name), (-math.inf, Secret(None)))
        if now - at < (PRESENT_SECONDS if seen.version else ABSENT_SECONDS):
            return seen
        try:
            found = await self._api.get(BUILT_IN["Secret"], namespace, name, metadata_only=True)
            secret = Secret(found["metadata"]["resourceVersion"], why_withheld(found, self._secret_label))
        except NotFoundError:
            secret = Secret(None)
        except ForbiddenError:
            # An installation may withhold this right; then a pod that lacks its Secret says so itself.
            secret = Secret(UNREADABLE, UNREADABLE_LABELS if self._secret_label else "")
        _bounded(self._secrets)[namespace, name] = now, secret
        return secret

    async def config_map(self, namespace: str, name: str, known: JsonObject | None) -> JsonObject | None:
        """Give a ConfigMap with its data; read only when the watched metadata shows another version."""
        if known is None:
            return None
        cached, _ = self._data.get((namespace, name), (None, 0))
        version = known["metadata"]["resourceVersion"]
        if cached is not None and cached["metadata"]["resourceVersion"] == version:
            return cached
        try:
            found = await self._api.get(BUILT_IN["ConfigMap"], namespace, name)
        except NotFoundError:
            return None
        self._remember(namespace, name, without_managed_fields(found))
        return found

    def _remember(self, namespace: str, name: str, config_map: JsonObject) -> None:
        texts = [text for part in ("data", "binaryData") for text in (config_map.get(part) or {}).values()]
        self._data.pop((namespace, name), None)
        _bounded(self._data)[namespace, name] = config_map, sum(map(len, texts))
        total = sum(size for _, size in self._data.values())
        while total > MAX_DATA:
            total -= self._data.pop(next(iter(self._data)))[1]

    async def progress(self, key: Key, pod: JsonObject) -> Progress | None:
        """Give the last progress line of a running pod; None while it printed none or cannot be asked."""
        uid, now = pod["metadata"]["uid"], self._clock()
        at, last = self._progress.get(uid, (-math.inf, None))
        if now - at < self._progress_seconds:
            return last
        names = [container["name"] for container in pod["spec"]["containers"]]
        container = CONTAINER if CONTAINER in names else names[0]
        try:
            text = await self._api.log_tail(
                BUILT_IN["Pod"],
                key.namespace,
                pod["metadata"]["name"],
                container,
                lines=LOG_LINES,
                limit=LOG_BYTES,
            )
            last = parse_progress(text) or last
        except InfrastructureError as error:
            # The node may be busy or the container just ending. The stage does not depend on this.
            log.debug(
                "no log", extra={"key": "/".join(key), "pod": pod["metadata"]["name"], "error": str(error)}
            )
        _bounded(self._progress)[uid] = (now, last)
        return last


def parse_progress(text: str) -> Progress | None:
    """Give the last progress line in a log's tail; other lines are the libraries' own."""
    for line in reversed(text.splitlines()):
        if '"progress"' not in line:
            continue
        try:
            return Progress.model_validate_json(line)
        except ValidationError:
            continue
    return None


def _bounded(memory: dict[Any, Any]) -> dict[Any, Any]:
    if len(memory) >= MAX_REMEMBERED:
        memory.clear()
    return memory
