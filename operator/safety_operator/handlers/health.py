"""Metrics and probes over HTTP.

``/healthz`` says whether the process does its work: every watch heard something lately (bookmarks come each
minute), the Lease was looked at, and the loop runs, or this would not answer. ``/readyz`` answers as soon as
the process is up: a standby is ready, since it can take over.
"""

import time
from collections.abc import Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from safety_operator import metrics
from safety_operator.errors import SettingsError
from safety_operator.handlers.observe import StatusMetrics
from safety_operator.state.keys import Key, Manifest

HeardAt = Callable[[], Mapping[str, float]]
"""By name of a watch: when it was last heard of, in seconds of the monotonic clock."""


class HealthServer:
    """Serves metrics and probes."""

    def __init__(self, heard_at: HeardAt, limit_seconds: float, resources: Mapping[Key, Manifest]) -> None:
        self._heard_at = heard_at
        self._limit_seconds = limit_seconds
        self._statuses = CollectorRegistry()
        self._statuses.register(StatusMetrics(resources))
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises SettingsError where that is not possible."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise SettingsError(f"SAFETY_HTTP_HOST, SAFETY_HTTP_PORT: {error}") from error

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        for name, age in self._ages().items():
            metrics.WATCH_AGE.labels(name).set(age)
        body = generate_latest() + generate_latest(self._statuses)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _: web.Request) -> web.Response:
        silent = {name: age for name, age in self._ages().items() if age > self._limit_seconds}
        if not silent:
            return web.Response(text="ok\n")
        lines = [f"nothing heard of {name} for {age:.0f} s\n" for name, age in silent.items()]
        return web.Response(status=503, text="".join(lines))

    async def _readyz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    def _ages(self) -> dict[str, float]:
        now = time.monotonic()
        return {name: now - at for name, at in self._heard_at().items()}
