"""Traces with OpenTelemetry's own SDK, before a collector that reads OTLP's messages."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.unit.gateway.support import Gateway, answer
from tests.worker_models.guardrails.gateway_process import free_port

from safety_gateway.answers import Usage
from safety_gateway.errors import UnavailableError
from safety_gateway.metrics import Metrics
from safety_gateway.settings import TelemetrySettings
from safety_gateway.telemetry import Telemetry
from safety_gateway.tracing import OtlpTracer

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
WORDS = "my-diagnosis-42"


class Collector:
    """Takes spans at /v1/traces."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.bodies.append(body)
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans += scope.spans
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def named(self, name: str) -> Any:
        (span,) = [span for span in self.spans if span.name == name]
        return span


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.stop()


@asynccontextmanager
async def traced(url: str, ratio: float = 1) -> AsyncIterator[Gateway]:
    """A gateway whose spans are all sent when it is left."""
    metrics = Metrics()
    tracer = OtlpTracer(TelemetrySettings(otlp_endpoint=url, sample_ratio=ratio), "pod", metrics)
    gateway = Gateway(telemetry=Telemetry(metrics, tracer))
    gateway.model.answer = answer(f"Paris {WORDS}", usage=Usage(5, 2, 7))
    try:
        yield gateway
    finally:
        await asyncio.to_thread(tracer.stop)


async def ask(gateway: Gateway, text: str = WORDS, **fields: Any) -> None:
    body = {"model": "assistant", "messages": [{"role": "user", "content": text}], **fields}
    async with gateway.client() as client:
        await client.post("/v1/chat/completions", json=body, headers={"traceparent": PARENT})


def attributes(span: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


@pytest.mark.parametrize("stream", [False, True])
async def test_request_rails_and_model_are_spans_of_the_clients_trace(collector: Collector, stream: bool):
    async with traced(collector.url) as gateway:
        await ask(gateway, stream=stream)
    names = ["chat request", "model", "rails input", "rails output"]
    assert sorted(span.name for span in collector.spans) == names
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    request = collector.named("chat request")
    assert request.parent_span_id.hex() == SPAN
    assert {collector.named(name).parent_span_id for name in names[1:]} == {request.span_id}
    found = attributes(request)
    assert (found["http.response.status_code"], found["safety.caller"]) == (200, "anybody")
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (5, 2)
    assert gateway.model.traces == [f"00-{TRACE}-{collector.named('model').span_id.hex()}-01"]
    assert gateway.metric("spans_total", outcome="sent") == 4


async def test_spans_hold_nobodys_words(collector: Collector):
    async with traced(collector.url) as gateway:
        await ask(gateway)
        await ask(gateway, f"a bomb {WORDS}")
        gateway.model.answer = ValueError(WORDS)
        await ask(gateway)
        gateway.rails.error = UnavailableError("down")
        await ask(gateway, stream=True)
    assert len(collector.spans) > 4
    assert not any(WORDS.encode() in body for body in collector.bodies)
    blocked = [span for span in collector.spans if attributes(span).get("safety.blocked")]
    assert [attributes(span)["safety.rail"] for span in blocked] == ["input rail"]
    failed = [attributes(span).get("error.type") for span in collector.spans if span.name == "chat request"]
    assert failed == [None, None, "guardrails_unavailable", "guardrails_unavailable"]


async def test_the_collectors_headers_come_from_the_environment(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret,x-team=safety")
    async with traced(collector.url) as gateway:
        await ask(gateway)
    assert (collector.headers[0]["x-key"], collector.headers[0]["x-team"]) == ("secret", "safety")


async def test_a_client_cannot_have_more_traced_than_the_settings_say(collector: Collector):
    async with traced(collector.url, ratio=0) as gateway:
        await ask(gateway)
    assert collector.spans == []
    assert gateway.model.traces[0].startswith(f"00-{TRACE}-")


async def test_no_proxy_takes_spans_that_stay_in_the_cluster(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with traced(collector.url.replace("127.0.0.1", "localhost")) as gateway:
        await ask(gateway)
    assert collector.spans


async def test_without_a_collector_requests_are_answered_and_lost_spans_counted(
    caplog: pytest.LogCaptureFixture,
):
    async with traced(f"http://localhost:{free_port()}") as gateway:
        assert (await gateway.ask()).status_code == 200
    assert gateway.metric("spans_total", outcome="failed") == 4
    assert "traces are not taken by their endpoint" in caplog.text
