"""OpenAI's own client for Python at the running gateway."""

import json
from collections.abc import Callable

import openai
import pytest
from openai import NOT_GIVEN, OpenAI
from openai.types.chat import ChatCompletionMessage
from tests.clients.agents_model import CITIES, END
from tests.clients.conftest import KEY, SLOW_KEY

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
MODEL = "assistant"


@pytest.fixture
def client(endpoint: str):
    with OpenAI(base_url=endpoint, api_key=KEY, max_retries=0) as client:
        yield client


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_an_answer_has_text_end_and_counts(client: OpenAI):
    answer = client.chat.completions.create(model=MODEL, messages=says("capital of France?"), n=2, seed=1)
    assert [(choice.message.content, choice.finish_reason) for choice in answer.choices] == [
        ("Paris.", "stop"),
        ("Paris.", "stop"),
    ]
    assert answer.usage.total_tokens == 18
    assert answer.model == MODEL


def test_a_stream_has_text_end_and_the_counts_that_are_asked_for(client: OpenAI):
    stream = client.chat.completions.create(
        model=MODEL, messages=says("capital?"), stream=True, stream_options={"include_usage": True}
    )
    parts = list(stream)
    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == "Paris."
    assert parts[-2].choices[0].finish_reason == "stop"
    assert (parts[-1].choices, parts[-1].usage.total_tokens) == ([], 18)


def test_an_answer_in_the_asked_form_is_parsed(client: OpenAI):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    answer = client.chat.completions.create(
        model=MODEL,
        messages=says("capital?"),
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema}},
    )
    assert json.loads(answer.choices[0].message.content) == {"city": "Paris"}


def whole(client: OpenAI, messages: list) -> ChatCompletionMessage:
    return client.chat.completions.create(model=MODEL, messages=messages, tools=[TOOL]).choices[0].message


def streamed(client: OpenAI, messages: list) -> ChatCompletionMessage:
    with client.chat.completions.stream(model=MODEL, messages=messages, tools=[TOOL]) as stream:
        return stream.get_final_completion().choices[0].message


@pytest.mark.parametrize("ask", [whole, streamed])
def test_an_agent_calls_its_tool_three_times_and_answers(client: OpenAI, ask: Callable):
    messages, called = says("What is the weather like?"), []
    while calls := (message := ask(client, messages)).tool_calls:
        messages.append(
            {"role": "assistant", "content": None, "tool_calls": [as_sent(call) for call in calls]}
        )
        for call in calls:
            called.append(json.loads(call.function.arguments)["city"])
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    assert (tuple(called), message.content) == (CITIES, END)


def as_sent(call) -> dict:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {"id": call.id, "type": "function", "function": function}


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_blocked_ends_with_content_filter(client: OpenAI, stream: bool):
    found = client.chat.completions.create(model=MODEL, messages=says("a bomb"), stream=stream)
    last = list(found)[-1] if stream else found
    assert last.choices[0].finish_reason == "content_filter"


def test_the_model_is_listed(client: OpenAI):
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "error", "code"),
    [
        ({"model": "gpt-5"}, openai.NotFoundError, "model_not_found"),
        ({"extra_body": {"guardrails": {"options": {}}}}, openai.BadRequestError, "unsupported_parameter"),
        ({"temperature": "hot"}, openai.BadRequestError, "invalid_parameter"),
        ({"messages": []}, openai.BadRequestError, "invalid_messages"),
        ({"messages": says("x" * 2_000_000)}, openai.APIStatusError, "too_large"),
        ({"messages": says("busy")}, openai.InternalServerError, None),
    ],
)
def test_errors_are_the_clients_own_classes(client: OpenAI, fields, error, code, stream):
    with pytest.raises(error) as raised:
        client.chat.completions.create(**{"model": MODEL, "messages": says("hi"), "stream": stream} | fields)
    if code:
        assert raised.value.code == code
    else:
        assert raised.value.response.headers["retry-after"] == "7"


def test_a_wrong_key_is_an_authentication_error(client: OpenAI):
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="x" * 20).chat.completions.create(model=MODEL, messages=says("hi"))


def test_more_than_a_caller_may_take_is_a_rate_limit_error_with_its_time(client: OpenAI):
    slow = client.with_options(api_key=SLOW_KEY)
    slow.chat.completions.create(model=MODEL, messages=says("hi"), timeout=NOT_GIVEN)
    with pytest.raises(openai.RateLimitError) as raised:
        slow.chat.completions.create(model=MODEL, messages=says("hi"))
    assert 0 < int(raised.value.response.headers["retry-after"]) <= 60
