from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.gateway.support import SETTINGS, Gateway, answer

from safety_gateway.answers import Usage
from safety_gateway.app import build_app
from safety_gateway.callers import Callers
from safety_gateway.course import Course
from safety_gateway.errors import BadRequestError, UnavailableError
from safety_gateway.metrics import MAX_CATEGORIES, Metrics
from safety_gateway.metrics_server import MetricsServer
from safety_gateway.model_answers import Delta
from safety_gateway.settings import CallerSettings

KEY = "sk-a-key-of-the-team"


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


async def test_requests_are_counted_by_endpoint_status_and_caller(tmp_path: Path):
    (tmp_path / "team").write_text(KEY)
    gateway = Gateway(SETTINGS.model_copy(update={"callers": (CallerSettings(name="team"),)}), tmp_path)
    async with gateway.client() as client:
        body = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}]}
        key = {"Authorization": f"Bearer {KEY}"}
        await client.post("/v1/chat/completions", json=body, headers=key)
        await client.post("/v1/chat/completions", json=body | {"model": "other"}, headers=key)
        await client.post("/v1/chat/completions", json=body, headers={"Authorization": "Bearer guessed-key"})
        await client.get("/v1/any-path")
        await client.get("/v1/health/ready")
    counted = {
        (sample.labels["endpoint"], sample.labels["status"], sample.labels["caller"]): sample.value
        for metric in gateway.telemetry.metrics.requests.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    assert counted == {
        ("chat", "200", "team"): 1,
        ("chat", "404", "team"): 1,
        ("chat", "401", "unknown"): 1,
        ("other", "404", "unknown"): 1,
    }
    assert gateway.metric("requests_in_flight") == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_and_times_are_counted(gateway: Gateway, stream: bool):
    gateway.model.answer = answer("Paris.", usage=Usage(5, 2, 7))
    await gateway.ask(stream=stream)
    assert gateway.metric("tokens_total", caller="anybody", kind="prompt") == 5
    assert gateway.metric("tokens_total", caller="anybody", kind="answer") == 2
    assert gateway.metric("request_seconds_count", endpoint="chat") == 1
    assert gateway.metric("model_seconds_count") == 1
    assert gateway.metric("rails_seconds_count", direction="input") == 1
    assert gateway.metric("rails_seconds_count", direction="output") == 1
    assert gateway.metric("own_seconds_count") == 1
    assert gateway.metric("first_part_seconds_count") == int(stream)


async def test_tokens_that_nobody_counted_are_missing(gateway: Gateway):
    gateway.model.answer = answer("Paris.")
    await gateway.ask()
    assert gateway.metric("tokens_total", caller="anybody", kind="prompt") is None


@pytest.mark.parametrize("stream", [False, True])
async def test_blocks_are_counted_by_rail_direction_and_category(gateway: Gateway, stream: bool):
    await gateway.ask("a bomb", stream=stream)
    gateway.model.answer = answer("a bomb")
    await gateway.ask(stream=stream)
    assert gateway.metric("blocks_total", rail="input rail", direction="input", caller="anybody") == 1
    assert gateway.metric("blocks_total", rail="output rail", direction="output", caller="anybody") == 1
    assert gateway.metric("block_categories_total", rail="input rail", category="S4") == 1


def test_a_guards_own_words_make_no_labels_without_bound():
    metrics = Metrics()
    names = [f"S{number}" for number in range(MAX_CATEGORIES + 9)]
    metrics.count_block("rail", "input", "anybody", ["my diagnosis\nis", "x" * 65, *names])
    labels = {
        sample.labels["category"]
        for metric in metrics.categories.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    assert labels == {*names[:MAX_CATEGORIES], "other"}


@pytest.mark.parametrize("stream", [False, True])
async def test_requests_that_a_failure_closed_are_counted_by_what_failed(gateway: Gateway, stream: bool):
    gateway.rails.error = UnavailableError("down", rail="topic")
    await gateway.ask(stream=stream)
    gateway.rails.error = UnavailableError("down")
    await gateway.ask(stream=stream)
    assert gateway.metric("upstream_up", upstream="rails") == 0
    gateway.rails.error = None
    gateway.model.answer = UnavailableError("down")
    await gateway.ask(stream=stream)
    assert gateway.metric("failures_closed_total", rail="topic") == 1
    assert gateway.metric("failures_closed_total", rail="input") == 1
    assert gateway.metric("failures_closed_total", rail="model") == 1
    assert gateway.metric("upstream_up", upstream="rails") == 1
    assert gateway.metric("upstream_up", upstream="model") == 0
    assert gateway.metric("requests_total", endpoint="chat", status="503", caller="anybody") == 3


async def test_what_nobody_foresaw_is_told_of_where_it_happened(gateway: Gateway):
    gateway.model.answer = ValueError("a word")
    assert (await gateway.ask()).status_code == 503
    assert gateway.metric("failures_closed_total", rail="model") == 1


async def test_a_request_that_the_client_can_change_is_no_failure_of_the_rails(gateway: Gateway):
    gateway.rails.error = BadRequestError("too long")
    await gateway.ask()
    assert gateway.metric("upstream_up", upstream="rails") == 1
    assert gateway.metric("failures_closed_total", rail="input") is None


async def test_a_stream_that_breaks_counts_as_failed_whatever_its_headers_said(gateway: Gateway):
    gateway.model.parts = [Delta(text="word " * 300), UnavailableError("broken")]
    response = await gateway.ask(stream=True)
    assert response.status_code == 200
    assert gateway.metric("requests_total", endpoint="chat", status="503", caller="anybody") == 1
    assert gateway.metric("failures_closed_total", rail="model") == 1


def test_waiting_at_several_places_counts_once(monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr("safety_gateway.course.time.perf_counter", lambda: now)
    course = Course("chat", began=now)
    with course.waiting():
        now = 103.0
        with course.waiting():
            now = 107.0
    now = 108.0
    assert course.own_seconds(now) == pytest.approx(1)


async def test_a_client_that_leaves_is_counted(gateway: Gateway):
    gateway.model.may_answer.clear()
    gone = iter([{"type": "http.request", "body": b'{"model": "assistant", "messages": [%s]}' % HI}])

    async def receive() -> dict[str, Any]:
        if message := next(gone, None):
            return message
        await gateway.model.arrived.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        raise AssertionError

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    await gateway.app({**scope, "query_string": b"", "root_path": ""}, receive, send)
    assert gateway.metric("requests_total", endpoint="chat", status="499", caller="anybody") == 1


HI = b'{"role": "user", "content": "hi"}'


@asynccontextmanager
async def served(gateway: Gateway) -> AsyncIterator[str]:
    server = MetricsServer(gateway.telemetry.metrics.registry)
    port = await server.start(0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.stop()


async def test_metrics_are_at_a_port_of_their_own_that_has_nothing_else(gateway: Gateway):
    await gateway.ask("my-diagnosis is a bomb")
    assert (await gateway.get("/metrics")).status_code == 404
    async with served(gateway) as url, httpx.AsyncClient() as client:
        shown = await client.get(f"{url}/metrics")
        assert "safety_gateway_requests_total" in shown.text
        assert "my-diagnosis" not in shown.text
        for path in ("/", "/v1/chat/completions", "/v1/models", "//metrics", "/metrics/.."):
            assert (await client.get(f"{url}{path}")).status_code == 404
        assert (await client.post(f"{url}/metrics")).status_code == 405


async def test_the_application_opens_the_metrics_port(gateway: Gateway, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    pipeline = gateway.pipeline
    app = build_app(SETTINGS, pipeline, Callers(Path("/none"), ()), gateway.telemetry, metrics_port=0)
    async with app.router.lifespan_context(app):
        (port,) = [record.args[0] for record in caplog.records if record.msg == "metrics at port %d"]
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/metrics")).status_code == 200


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", False),
        ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        ("my diagnosis", False),
    ],
)
async def test_a_clients_trace_goes_on_to_the_model(gateway: Gateway, given: str, passed: bool):
    async with gateway.client() as client:
        body = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}]}
        await client.post("/v1/chat/completions", json=body, headers={"traceparent": given})
    assert gateway.model.traces == [given if passed else ""]
