"""Traces by OpenTelemetry, sent over OTLP/HTTP. Loaded only where an endpoint for them is named.

Spans hold times, names of rails, statuses and counts, never a word of a conversation. The provider is not
made the process's own, so that no library adds spans to it: NeMo Guardrails' hold prompts.
"""

import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from safety_gateway.course import Course
from safety_gateway.metrics import Metrics
from safety_gateway.settings import TelemetrySettings
from safety_gateway.telemetry import Span

log = logging.getLogger(__name__)

SERVICE = "model-safety-operator-gateway"
TIMEOUT_SECONDS = 5
IN_CLUSTER = (".svc", ".cluster.local")


class OtelSpan:
    """A span of OpenTelemetry's; see :class:`safety_gateway.telemetry.Span`."""

    def __init__(self, span: Any) -> None:
        self.span = span

    @property
    def trace_parent(self) -> str:
        """Version, trace, span and flags."""
        context = self.span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def set(self, name: str, value: Any) -> None:
        """Say more of it."""
        self.span.set_attribute(name, value)

    def end(self, error: BaseException | None = None) -> None:
        """It is over; of an error only its kind is told."""
        if error is not None:
            self.span.set_status(StatusCode.ERROR)
            self.span.set_attribute("error.type", getattr(error, "code", type(error).__name__))
        self.span.end()


class OtlpTracer:
    """Sends spans in batches, from a thread of its own; see :class:`safety_gateway.telemetry.Tracer`."""

    def __init__(self, settings: TelemetrySettings, name: str, metrics: Metrics) -> None:
        ratio = TraceIdRatioBased(settings.sample_ratio)
        self._provider = TracerProvider(
            # A client may not have more traced than the settings say.
            sampler=ParentBased(ratio, remote_parent_sampled=ratio),
            resource=Resource({"service.name": SERVICE, "service.instance.id": name}),
        )
        url = f"{settings.otlp_endpoint.rstrip('/')}/v1/traces"
        exporter = OTLPSpanExporter(url, timeout=TIMEOUT_SECONDS, session=_session(url))
        self._provider.add_span_processor(BatchSpanProcessor(CountedExporter(exporter, metrics)))
        self._tracer = self._provider.get_tracer("safety_gateway")

    def begin(self, course: Course, request_id: str) -> Span:
        """Begin the span of a request."""
        name, context = f"{course.endpoint} request", set_span_in_context(_remote(course.trace_parent))
        attributes = {"gen_ai.operation.name": course.endpoint, "safety.request_id": request_id}
        return OtelSpan(self._tracer.start_span(name, context, kind=SpanKind.SERVER, attributes=attributes))

    def child(self, parent: Span, name: str, *, upstream: bool) -> Span:
        """Begin a part of it."""
        assert isinstance(parent, OtelSpan)
        kind = SpanKind.CLIENT if upstream else SpanKind.INTERNAL
        return OtelSpan(self._tracer.start_span(name, set_span_in_context(parent.span), kind=kind))

    def stop(self) -> None:
        """Send what is left, as long as a try takes."""
        self._provider.shutdown()


class CountedExporter(SpanExporter):
    """Counts what was sent and what was not, which the log tells once."""

    def __init__(self, exporter: SpanExporter, metrics: Metrics) -> None:
        self._exporter = exporter
        self._metrics = metrics
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send some spans."""
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        self._metrics.spans.labels("failed" if failed else "sent").inc(len(spans))
        if failed != self._failing:
            log.warning("traces %s taken by their endpoint", "are not" if failed else "are again")
            self._failing = failed
        return result

    def shutdown(self) -> None:
        """End."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Wait until nothing is left to send."""
        return bool(self._exporter.force_flush(timeout_millis))


def _remote(trace_parent: str) -> NonRecordingSpan:
    """The client's span; none where it sends none."""
    if not trace_parent:
        return NonRecordingSpan(INVALID_SPAN_CONTEXT)
    _, trace, span, flags = trace_parent.split("-")
    context = SpanContext(
        int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )
    return NonRecordingSpan(context)


def _session(url: str) -> requests.Session:
    """No proxy is used within the cluster, whatever the environment says."""
    session = requests.Session()
    host = urlsplit(url).hostname or ""
    session.trust_env = "." in host and not host.endswith(IN_CLUSTER)
    return session
