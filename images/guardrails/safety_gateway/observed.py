"""Rails, model and audit trail, measured: what each takes, whether it answers, what it blocks."""

import logging
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

from prometheus_client import Histogram

from safety_gateway.answers import Answer, Usage
from safety_gateway.audit import AuditTrail, Direction
from safety_gateway.chat_request import ChatRequest
from safety_gateway.course import current
from safety_gateway.embeddings import EmbeddingRequest
from safety_gateway.errors import GatewayError, UnavailableError
from safety_gateway.model import Model
from safety_gateway.model_answers import Delta
from safety_gateway.pipeline import Pipeline
from safety_gateway.rails import Message, Rails, Verdict
from safety_gateway.settings import Settings
from safety_gateway.telemetry import Telemetry, set_usage

log = logging.getLogger(__name__)

T = TypeVar("T")
MODEL, RAILS = "model", "rails"


def observed(
    rails: Rails, model: Model, settings: Settings, telemetry: Telemetry, audit: AuditTrail | None = None
) -> Pipeline:
    """A pipeline that is measured; ``audit``: its trail, at standard output only where absent."""
    audit = audit or ObservedAudit(telemetry, keep_text=settings.audit_text)
    return Pipeline(ObservedRails(rails, telemetry), ObservedModel(model, telemetry), settings, audit)


class ObservedRails:
    """Rails that are measured; see :class:`safety_gateway.rails.Rails`."""

    def __init__(self, rails: Rails, telemetry: Telemetry) -> None:
        self._rails = rails
        self._telemetry = telemetry

    async def start(self) -> None:
        """Open connections."""
        await self._rails.start()

    async def stop(self) -> None:
        """Close connections."""
        await self._rails.stop()

    async def check_input(self, messages: list[Message]) -> Verdict:
        """Check a conversation."""
        return await self._check("input", self._rails.check_input(messages))

    async def check_output(self, messages: list[Message], answer: str) -> Verdict:
        """Check an answer."""
        return await self._check("output", self._rails.check_output(messages, answer))

    async def _check(self, direction: Direction, checking: Awaitable[Verdict]) -> Verdict:
        metrics = self._telemetry.metrics
        began = time.perf_counter()
        with self._telemetry.span(f"rails {direction}") as span, current().waiting():
            verdict = await _told(self._telemetry, RAILS, direction, checking)
            span.set("safety.blocked", verdict.blocked)
            if verdict.blocked:
                span.set("safety.rail", verdict.rail)
        _observe(metrics.rails_seconds.labels(direction), time.perf_counter() - began)
        return verdict


class ObservedModel:
    """A model that is measured; see :class:`safety_gateway.model.Model`."""

    def __init__(self, model: Model, telemetry: Telemetry) -> None:
        self._model = model
        self._telemetry = telemetry

    async def start(self) -> None:
        """Open connections."""
        await self._model.start()

    async def stop(self) -> None:
        """Close connections."""
        await self._model.stop()

    async def ask(self, request: ChatRequest) -> Answer:
        """The model's answer."""
        began = time.perf_counter()
        with self._telemetry.span("model", upstream=True) as span, current().waiting():
            answer = await _told(self._telemetry, MODEL, MODEL, self._model.ask(request))
            set_usage(span, answer.usage)
        _observe(self._telemetry.metrics.model_seconds, time.perf_counter() - began)
        return answer

    async def embed(self, request: EmbeddingRequest) -> dict[str, Any]:
        """The vectors of texts."""
        began = time.perf_counter()
        with self._telemetry.span("model", upstream=True), current().waiting():
            found = await _told(self._telemetry, MODEL, MODEL, self._model.embed(request))
        _observe(self._telemetry.metrics.model_seconds, time.perf_counter() - began)
        return found

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Usage]:
        """The answer as it comes. What is measured is the waiting for its parts."""
        seconds = 0.0
        with self._telemetry.span("model", upstream=True) as span:
            try:
                async with aclosing(self._model.stream(request)) as deltas:
                    while True:
                        began = time.perf_counter()
                        with current().waiting():
                            part = await _told(self._telemetry, MODEL, MODEL, anext(deltas, None))
                        seconds += time.perf_counter() - began
                        if part is None:
                            break
                        if isinstance(part, Usage):
                            set_usage(span, part)
                        yield part
            finally:
                _observe(self._telemetry.metrics.model_seconds, seconds)


def _observe(histogram: Histogram, seconds: float) -> None:
    """Note a time, but for a canary's."""
    if not current().canary:
        histogram.observe(seconds)


async def _told(telemetry: Telemetry, upstream: str, rail: str, work: Awaitable[T]) -> T:
    """Do the work, and note whether the upstream answered; an error says where it happened."""
    up = telemetry.metrics.up.labels(upstream)
    try:
        found = await work
    except UnavailableError as error:
        error.rail = error.rail or rail
        up.set(0)
        raise
    except GatewayError:
        up.set(1)  # it refuses the client's request
        raise
    except Exception as error:  # noqa: BLE001 - its text may hold anybody's words
        up.set(0)
        log.error("no answer of %s: %s", rail, type(error).__name__)  # noqa: TRY400
        raise UnavailableError("the request could not be carried out", rail=rail) from None
    up.set(1)
    return found


class ObservedAudit(AuditTrail):
    """An audit trail whose blocks are counted."""

    def __init__(self, telemetry: Telemetry, **options: Any) -> None:
        super().__init__(**options)
        self._telemetry = telemetry

    def blocked(
        self, verdict: Verdict, text: str, *, direction: Direction, caller: str, request_id: str
    ) -> None:
        """Write and count that a request or an answer to it was blocked, unless it is a canary."""
        if current().canary:
            return
        super().blocked(verdict, text, direction=direction, caller=caller, request_id=request_id)
        self._telemetry.metrics.count_block(verdict.rail, direction, caller, verdict.categories)
