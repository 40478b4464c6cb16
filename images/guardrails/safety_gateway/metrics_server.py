"""Metrics over HTTP at a port of their own, which NetworkPolicies open to scrapers only."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


class MetricsServer:
    """Answers ``GET /metrics`` and nothing else."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)

    async def start(self, port: int) -> int:
        """Listen at all addresses of the pod; the port, IPv4's where 0 leaves the choice to the system."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, None, port)
        await site.start()
        # A port that the system chooses is another one for each family of addresses.
        families = sorted(self._runner.addresses, key=len)
        return int(families[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
