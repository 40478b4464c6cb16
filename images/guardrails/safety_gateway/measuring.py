"""Each request is measured, and belongs to the trace that its client began."""

import re
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safety_gateway.course import COURSE, Course
from safety_gateway.telemetry import Telemetry

ENDPOINTS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/models": "models",
}
PROBES = ("/v1/health", "/v1/health/ready")
OTHER = "other"
_TRACE_PARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, version 00; the parts that are all zeros are invalid."""


class Measured:
    """ASGI middleware: counts each request but the probes', and times it."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one request on."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        course = Course(ENDPOINTS.get(scope["path"], OTHER), trace_parent=_trace_parent(scope))
        token = COURSE.set(course)
        self._telemetry.begin(course, scope["state"]["request_id"])
        self._telemetry.metrics.in_flight.inc()

        async def send_measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                course.status = message["status"]
            with course.waiting():
                await send(message)

        try:
            await self._app(scope, receive, send_measured)
        finally:
            self._telemetry.metrics.in_flight.dec()
            self._telemetry.finish(course, time.perf_counter())
            COURSE.reset(token)


def _trace_parent(scope: Scope) -> str:
    """The client's traceparent header, where it is one."""
    given = Headers(scope=scope).get("traceparent", "")
    return given if _TRACE_PARENT.fullmatch(given) else ""
