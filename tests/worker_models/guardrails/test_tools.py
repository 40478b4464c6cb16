"""``guardrails.toolCalls`` in the process with the real library: whole answers and streams."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.worker.fake_model_server import FakeModelServer, Reply
from tests.worker_models.guardrails.gateway_process import (
    KEY,
    free_port,
    gateway_command,
    gateway_environment,
    make_config,
    write_config,
)

REFUSAL = "No."
FORBIDDEN = "forbidden-word"
ANYTHING = {"type": "object"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
Ask = Callable[..., httpx.Response]


def judge(prompt: str, _nth: int) -> Reply:
    word = "unsafe" if FORBIDDEN in prompt else "safe"
    return Reply(json.dumps({"User Safety": word, "Response Safety": word}))


def call_as_told(prompt: str, _nth: int) -> Reply:
    """A model that calls the weather with its last message; after a result of that it answers."""
    if not prompt.startswith("{"):
        return Reply("Rain.")
    call = {"index": 0} | CALL | {"function": {"name": "weather", "arguments": prompt}}
    beside: dict[str, Any] = {"tool_calls": [call]}
    return Reply("", "tool_calls", beside=beside)


def tools(*names: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name, "parameters": ANYTHING}} for name in names]


@pytest.fixture
def start(tmp_path: Path, serve: Callable[..., None]) -> Iterator[Callable[..., Ask]]:
    """Starts the gateway with rules as the operator writes them; gives what asks it."""
    with FakeModelServer(call_as_told, api_key=KEY) as model, FakeModelServer(judge) as guard:

        def run(**rules: Any) -> Ask:
            changes = {"guard_name": "model", "guard_format": "nemoguard", "tool_calls": json.dumps(rules)}
            write_config(make_config(model.base_url, guard.base_url, **changes), tmp_path / "config")
            url = f"http://127.0.0.1:{(port := free_port())}/v1"
            serve(gateway_command(tmp_path / "config", port), gateway_environment(), f"{url}/health/ready")

            def ask(
                *messages: dict[str, Any], offered: tuple[str, ...] = ("weather",), **fields: Any
            ) -> httpx.Response:
                body = {"model": "assistant", "messages": messages, "tools": tools(*offered)} | fields
                return httpx.post(f"{url}/chat/completions", json=body, timeout=60)

            return ask

        yield run


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def calls(response: httpx.Response) -> list[str]:
    """Arguments of the calls that a whole answer or a stream shows."""
    assert response.status_code == 200, response.text
    if "event-stream" in response.headers["content-type"]:
        lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: {")]
        parts = [choice["delta"] for line in lines for choice in json.loads(line)["choices"]]
    else:
        parts = [choice["message"] for choice in response.json()["choices"]]
    return [call["function"]["arguments"] for part in parts for call in part.get("tool_calls") or ()]


def with_result(text: str) -> list[dict[str, Any]]:
    asked = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    return [user("weather?"), asked, {"role": "tool", "tool_call_id": "c1", "content": text}]


SHORT, LONG = '{"city": "Ulm"}', json.dumps({"city": "Ulm" * 20})
BAD = json.dumps({"city": FORBIDDEN})


def test_rules_and_rails_hold_for_tools_calls_and_results(start):
    ask = start(allowed=["weather"], maxArgumentBytes=50)
    for stream in (False, True):
        refused = ask(user(SHORT), offered=("weather", "mail"), stream=stream)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_tools")
        assert calls(ask(user(SHORT), stream=stream)) == [SHORT]
        withheld = ask(user(LONG), stream=stream)
        assert calls(withheld) == []
        assert "content_filter" in withheld.text
        blocked = ask(*with_result(f"Rain. {FORBIDDEN}"), stream=stream)
        assert "content_filter" in blocked.text
        assert "Rain." not in blocked.text
        assert "Rain." in ask(*with_result("Rain in Ulm."), stream=stream).text


def test_calls_and_results_that_no_rail_is_to_read_pass(start):
    ask = start(checkCalls=False, checkResults=False)
    for stream in (False, True):
        assert calls(ask(user("{}"), stream=stream)) == ["{}"]
        assert "Rain." in ask(*with_result(f"Rain. {FORBIDDEN}"), stream=stream).text
        assert "content_filter" in ask(user(BAD), stream=stream).text, "a user's own words are read"
