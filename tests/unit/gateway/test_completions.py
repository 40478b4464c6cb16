import json
from typing import Any

import httpx
import pytest
from tests.unit.gateway.support import REFUSAL, SETTINGS, Gateway, answer, code

from safety_gateway.answers import Usage
from safety_gateway.model_answers import Delta, as_chat, read_answer, read_event
from safety_gateway.settings import Endpoints


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(SETTINGS.model_copy(update={"endpoints": Endpoints(completions=True)}))


async def complete(gateway: Gateway, prompt: Any = "Once upon", **fields: Any) -> httpx.Response:
    return await gateway.post({"model": "assistant", "prompt": prompt, **fields}, "/v1/completions")


async def test_completions_are_not_there_unless_asked_for():
    assert code(await complete(Gateway())) == (404, "not_found")


async def test_a_prompt_is_completed_in_openais_form(gateway: Gateway):
    gateway.model.answer = answer(" a time", "length", Usage(2, 3, 5))
    got = (await complete(gateway, ["Once upon"], max_tokens=3, stop=["x"])).json()
    assert got["object"] == "text_completion"
    (choice,) = got["choices"]
    assert choice == {"index": 0, "text": " a time", "logprobs": None, "finish_reason": "length"}
    assert got["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    (asked,) = gateway.model.asked
    assert (asked.endpoint, asked.messages[-1]["content"]) == ("completions", "Once upon")
    assert asked.parameters == {"max_tokens": 3, "stop": ["x"]}
    assert gateway.metric("requests_total", endpoint="completions", status="200", caller="anybody") == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_prompts_and_completions_pass_the_rails(gateway: Gateway, stream: bool):
    blocked = await complete(gateway, "a bomb", stream=stream)
    assert not gateway.model.asked
    gateway.model.answer = answer("take a bomb")
    leaked = await complete(gateway, stream=stream)
    for response in (blocked, leaked):
        assert REFUSAL in response.text
        assert "content_filter" in response.text
        assert "take" not in response.text


async def test_a_stream_has_the_parts_the_end_and_counts_where_asked_for(gateway: Gateway):
    gateway.model.answer = answer(" a time", usage=Usage(2, 3, 5))
    response = await complete(gateway, stream=True, stream_options={"include_usage": True})
    *lines, done = [line for line in response.text.split("\n\n") if line.startswith("data: ")]
    assert done == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert "".join(event["choices"][0]["text"] for event in events[:-1]) == " a time"
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"]["total_tokens"] == 5


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": [1, 2, 3]},
        {"prompt": ["a", "b"]},
        {"prompt": None},
        {"prompt": ""},
        {"suffix": "x"},
        {"echo": True},
        {"best_of": 2},
        {"logprobs": 1},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"tools": []},
        {"guardrails": {"options": {}}},
    ],
)
async def test_what_rails_could_not_read_is_refused(gateway: Gateway, fields: dict[str, Any]):
    response = (
        await complete(gateway, **fields) if "prompt" in fields else await complete(gateway, "a", **fields)
    )
    assert response.status_code == 400
    assert not gateway.model.asked


def test_a_servers_completions_are_read_as_chat():
    whole = {"choices": [{"index": 0, "text": "Hi", "finish_reason": "stop", "logprobs": {"tokens": []}}]}
    assert read_answer(as_chat(json.dumps(whole).encode()), 1).choices[0].text == "Hi"
    assert read_event(as_chat(json.dumps(whole).encode())) == [Delta(text="Hi", finish_reason="stop")]
    assert as_chat(b"<html>") == b"<html>"
