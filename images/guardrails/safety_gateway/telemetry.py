"""What a gateway tells of itself: metrics always, traces where an endpoint for them is named."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from safety_gateway.answers import Usage
from safety_gateway.course import Course, current
from safety_gateway.errors import UnavailableError
from safety_gateway.metrics import Metrics

CLIENT_GONE = 499
"""Status of a request that nobody waits for any more, as nginx logs it."""
OWN_RAIL = "gateway"
"""What failed where it was neither a rail nor the model."""


class Span(Protocol):
    """A part of a trace."""

    @property
    def trace_parent(self) -> str:
        """What its requests to others carry, in W3C's form."""
        ...

    def set(self, name: str, value: Any) -> None:
        """Say more of it; never a word of a conversation."""

    def end(self, error: BaseException | None = None) -> None:
        """It is over."""


class Tracer(Protocol):
    """Makes spans and sends them."""

    def begin(self, course: Course, request_id: str) -> Span:
        """Begin the span of a request, within its client's trace."""
        ...

    def child(self, parent: Span, name: str, *, upstream: bool) -> Span:
        """Begin a part of it; ``upstream``: a request to another server."""
        ...

    def stop(self) -> None:
        """Send what is left."""


class NoSpan:
    """Where there are no traces."""

    trace_parent = ""

    def set(self, name: str, value: Any) -> None:
        """Nothing."""

    def end(self, error: BaseException | None = None) -> None:
        """Nothing."""


NO_SPAN = NoSpan()


class Telemetry:
    """Metrics and traces of one process."""

    def __init__(self, metrics: Metrics | None = None, tracer: Tracer | None = None) -> None:
        self.metrics = metrics or Metrics()
        self._tracer = tracer

    def stop(self) -> None:
        """Send the spans that are left."""
        if self._tracer is not None:
            self._tracer.stop()

    @contextmanager
    def span(self, name: str, *, upstream: bool = False) -> Iterator[Span]:
        """A part of the request that is worked for."""
        course = current()
        if self._tracer is None or course.span is None:
            yield NO_SPAN
            return
        span = self._tracer.child(course.span, name, upstream=upstream)
        if upstream:
            course.trace_parent = span.trace_parent
        error: BaseException | None = None
        try:
            yield span
        except BaseException as raised:
            error = raised
            raise
        finally:
            span.end(None if isinstance(error, GeneratorExit) else error)

    def begin(self, course: Course, request_id: str) -> None:
        """A request has come."""
        if self._tracer is not None:
            course.span = self._tracer.begin(course, request_id)

    def finish(self, course: Course, now: float) -> None:
        """A request is over."""
        status = course.error.status if course.error else course.status or CLIENT_GONE
        self._count(course, status, now)
        if course.span is not None:
            set_usage(course.span, course.usage)
            course.span.set("http.response.status_code", status)
            course.span.set("safety.caller", course.caller)
            course.span.end(course.error)

    def _count(self, course: Course, status: int, now: float) -> None:
        metrics = self.metrics
        if course.canary:
            metrics.canaries.labels(str(status)).inc()
            return
        metrics.requests.labels(course.endpoint, str(status), course.caller).inc()
        metrics.seconds.labels(course.endpoint).observe(now - course.began)
        metrics.own_seconds.observe(course.own_seconds(now))
        if course.first_part is not None:
            metrics.first_part.observe(course.first_part - course.began)
        if course.usage is not None:
            metrics.tokens.labels(course.caller, "prompt").inc(course.usage.prompt_tokens)
            metrics.tokens.labels(course.caller, "answer").inc(course.usage.completion_tokens)
        if isinstance(course.error, UnavailableError):
            metrics.failures.labels(course.error.rail or OWN_RAIL).inc()


def set_usage(span: Span, usage: Usage | None) -> None:
    """Counts of tokens, by OpenTelemetry's names."""
    if usage is not None:
        span.set("gen_ai.usage.input_tokens", usage.prompt_tokens)
        span.set("gen_ai.usage.output_tokens", usage.completion_tokens)
