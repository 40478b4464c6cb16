import asyncio
import json
from typing import Any

import pytest
from tests.unit.gateway.support import REFUSAL, Gateway, answer, code, said, user

from safety_gateway import app, room
from safety_gateway.answers import Usage
from safety_gateway.errors import BadRequestError, UnavailableError

DOWN = UnavailableError("the guard does not answer", retry_after=7)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def events_of(text: str) -> list[Any]:
    """Data of the server-sent events, without comments and the end."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]" or "error" in lines[-1]
    return [json.loads(line) for line in lines if line != "[DONE]"]


async def test_an_answer_has_openais_form_with_the_models_end_and_counts(gateway: Gateway):
    gateway.model.answer = answer("Par", "length", Usage(5, 1, 6))
    got = (await gateway.ask(max_tokens=1)).json()
    assert got["object"] == "chat.completion"
    assert got["model"] == "assistant"
    assert got["id"].startswith("chatcmpl-")
    assert got["usage"] == {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    (choice,) = got["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Par"}
    assert choice["finish_reason"] == "length"
    assert gateway.model.asked[0].parameters == {"max_tokens": 1}


async def test_a_blocked_request_never_reaches_the_model(gateway: Gateway, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    blocked = await gateway.ask("build a bomb")
    assert said(blocked) == (REFUSAL, "content_filter")
    assert blocked.json()["usage"]["total_tokens"] == 0
    assert gateway.model.asked == []
    assert "rail" not in blocked.text
    (line,) = gateway.audited
    assert (line["rail"], line["direction"], line["categories"]) == ("input rail", "input", ["S4"])
    assert line["request"] == blocked.headers["x-request-id"]
    assert "bomb" not in caplog.text + json.dumps(line)


async def test_a_blocked_answer_is_withheld_and_its_tokens_are_counted(gateway: Gateway):
    gateway.model.answer = answer("First take a bomb", "stop", Usage(3, 4, 7))
    blocked = await gateway.ask()
    assert said(blocked) == (REFUSAL, "content_filter")
    assert blocked.json()["usage"]["total_tokens"] == 7


async def test_the_same_words_from_the_model_are_the_models_own(gateway: Gateway):
    gateway.model.answer = answer(REFUSAL, "stop")
    assert said(await gateway.ask()) == (REFUSAL, "stop")
    gateway.model.answer = answer("An internal error has occurred.", "stop")
    assert said(await gateway.ask()) == ("An internal error has occurred.", "stop")


async def test_an_answer_without_text_needs_no_rail(gateway: Gateway):
    gateway.model.answer = answer("", "length")
    assert said(await gateway.ask()) == ("", "length")
    assert gateway.rails.outputs == []


async def test_a_stream_has_the_checked_answer_its_end_and_counts_where_asked_for(gateway: Gateway):
    gateway.model.answer = answer("Par", "length", Usage(5, 1, 6))
    streamed = await gateway.ask(stream=True, stream_options={"include_usage": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    content, end, counts = events_of(streamed.text)
    assert content["object"] == "chat.completion.chunk"
    assert content["choices"][0]["delta"] == {"role": "assistant", "content": "Par"}
    assert end["choices"][0]["finish_reason"] == "length"
    assert (counts["choices"], counts["usage"]["total_tokens"]) == ([], 6)
    assert len(events_of((await gateway.ask(stream=True)).text)) == 2


async def test_a_blocked_stream_shows_nothing_of_the_answer(gateway: Gateway):
    gateway.model.answer = answer("First take a bomb", "stop")
    streamed = await gateway.ask(stream=True)
    content, end = events_of(streamed.text)
    assert content["choices"][0]["delta"]["content"] == REFUSAL
    assert end["choices"][0]["finish_reason"] == "content_filter"
    assert "First take" not in streamed.text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_guard_without_a_verdict_closes_the_request(gateway: Gateway, stream: bool):
    gateway.rails.error = DOWN
    closed = await gateway.ask(stream=stream)
    assert code(closed) == (503, "guardrails_unavailable")
    assert closed.json()["error"]["type"] == "server_error"
    assert closed.headers["retry-after"] == "7"


async def test_what_the_client_can_change_is_told_as_such(gateway: Gateway):
    gateway.rails.error = BadRequestError("too long", code="context_length_exceeded")
    told = await gateway.ask()
    assert code(told) == (400, "context_length_exceeded")
    assert told.json()["error"]["type"] == "invalid_request_error"


async def test_an_error_that_nobody_foresaw_closes_the_request_without_its_text(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
):
    gateway.model.answer = RuntimeError("my-diagnosis")
    closed = await gateway.ask()
    assert code(closed) == (503, "guardrails_unavailable")
    assert "my-diagnosis" not in closed.text + caplog.text
    assert "RuntimeError" in caplog.text


async def test_a_slow_stream_sends_headers_and_signs_of_life_before_the_answer(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(app, "HEADERS_AFTER_SECONDS", 0)
    monkeypatch.setattr(app, "HEARTBEAT_SECONDS", 0.001)
    gateway.model.may_answer.clear()
    sent = Sent(gateway, stream=True)
    await sent.wait_for(": waiting", times=2)
    assert sent.messages[0]["status"] == 200
    assert "Paris" not in sent.text
    gateway.model.may_answer.set()
    await sent.task
    assert len(events_of(sent.text)) == 2


async def test_an_error_after_a_streams_headers_is_an_event(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(app, "HEADERS_AFTER_SECONDS", 0)
    gateway.model.may_answer.clear()
    gateway.model.answer = DOWN
    sent = Sent(gateway, stream=True)
    await sent.wait_for(": waiting")
    gateway.model.may_answer.set()
    await sent.task
    assert events_of(sent.text)[-1]["error"]["code"] == "guardrails_unavailable"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_the_work_for_it(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, stream: bool
):
    monkeypatch.setattr(app, "HEADERS_AFTER_SECONDS", 0)
    gateway.model.may_answer.clear()
    sent = Sent(gateway, stream=stream)
    await gateway.model.arrived.wait()
    sent.leave.set()
    await sent.task
    await gateway.model.cancelled.wait()
    assert "Paris" not in sent.text


async def test_a_request_that_the_end_of_the_process_cuts_off_may_be_tried_again(gateway: Gateway):
    gateway.model.may_answer.clear()
    sent = Sent(gateway)
    await gateway.model.arrived.wait()
    sent.task.cancel()
    await sent.task
    assert sent.messages[0]["status"] == 503
    assert "restarting" in sent.text


async def test_requests_above_the_bound_are_told_to_come_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(room, "MAX_REQUESTS", 1)
    gateway.model.may_answer.clear()
    first = Sent(gateway)
    await gateway.model.arrived.wait()
    refused = await gateway.ask()
    assert code(refused) == (503, "overloaded")
    assert refused.headers["retry-after"] == "1"
    gateway.model.may_answer.set()
    await first.task
    assert (await gateway.ask()).status_code == 200


async def test_bodies_that_arrive_slowly_keep_nobody_out(gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "MAX_REQUESTS", 1)
    slow = [Sent(gateway, body=False) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert (await gateway.ask()).status_code == 200
    for sent in slow:
        sent.leave.set()
        await sent.task


async def test_bodies_that_arrive_together_have_a_bound(gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "MAX_ARRIVING_BYTES", 1000)
    assert code(await gateway.ask("x" * 1000)) == (503, "overloaded")
    assert (await gateway.ask("x" * 100)).status_code == 200


async def test_bodies_beyond_the_bound_are_refused(gateway: Gateway):
    assert code(await gateway.ask("x" * app.MAX_BODY_BYTES)) == (413, "too_large")
    assert (await gateway.ask("x" * (app.MAX_BODY_BYTES - 200))).status_code == 200


async def test_a_body_that_does_not_arrive_is_not_waited_for(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(room, "BODY_SECONDS", 0.001)
    sent = Sent(gateway, body=False)
    await sent.task
    assert sent.messages[0]["status"] == 408


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/checks",
        "/v1/rails/configs",
        "/v1/chat/completions/",
        "/v1//chat/completions",
        "/v1/../v1/chat/completions/x",
        "/docs",
        "/openapi.json",
        "/v1/completions",
        "/metrics",
    ],
)
async def test_there_are_no_other_paths(gateway: Gateway, path: str):
    assert code(await gateway.post({}, path)) == (404, "not_found")
    if "chat" not in path:
        assert code(await gateway.get(path)) == (404, "not_found")


async def test_a_wrong_method_is_told_in_openais_form(gateway: Gateway):
    assert code(await gateway.get("/v1/chat/completions")) == (405, "method_not_allowed")


async def test_a_body_of_two_lengths_is_refused_with_its_connection(gateway: Gateway):
    """As one that a proxy and a server read differently would be."""
    async with gateway.client() as client:
        both = {"Content-Length": "4", "Transfer-Encoding": "chunked"}
        refused = await client.get("/v1/models", headers=both)
        assert (await client.get("/v1/models", headers={"Content-Length": "0"})).status_code == 200
    assert code(refused) == (400, "invalid_request")
    assert refused.headers["connection"] == "close"


async def test_the_only_model_is_listed_and_found(gateway: Gateway):
    listed = (await gateway.get("/v1/models")).json()
    assert [entry["id"] for entry in listed["data"]] == ["assistant"]
    assert (await gateway.get("/v1/models/assistant")).json()["id"] == "assistant"
    assert code(await gateway.get("/v1/models/gpt-5")) == (404, "model_not_found")


async def test_health_is_answered(gateway: Gateway):
    assert (await gateway.get("/v1/health")).status_code == 200
    assert (await gateway.get("/v1/health/ready")).status_code == 200


async def test_connections_are_open_while_the_application_runs(gateway: Gateway):
    async with gateway.app.router.lifespan_context(gateway.app):
        assert gateway.rails.started == 1
    assert gateway.rails.started == 0


class Sent:
    """A request as a server hands it to the application, of a client that may leave."""

    def __init__(self, gateway: Gateway, *, stream: bool = False, body: bool = True) -> None:
        self.messages: list[dict[str, Any]] = []
        self.leave = asyncio.Event()
        self._sent = asyncio.Event()
        data = json.dumps({"model": "assistant", "messages": [user("hi")], "stream": stream}).encode()
        self._incoming = [{"type": "http.request", "body": data, "more_body": False}] if body else []
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "headers": [],
            "query_string": b"",
            "root_path": "",
        }
        self.task = asyncio.create_task(gateway.app(scope, self._receive, self._send))

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.messages).decode()

    async def _receive(self) -> dict[str, Any]:
        if self._incoming:
            return self._incoming.pop()
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        self._sent.set()

    async def wait_for(self, text: str, times: int = 1) -> None:
        while self.text.count(text) < times:
            self._sent.clear()
            await self._sent.wait()
