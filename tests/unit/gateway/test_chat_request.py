import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.support import REFUSAL, user

from safety_gateway.chat_request import PARAMETERS, ChatRequest, read_request
from safety_gateway.errors import GatewayError
from safety_gateway.messages import MAX_MESSAGES
from safety_gateway.refusals import Refusals

HI = [user("hi")]
PAIR = b'{"model": "assistant", "messages": [{"role": "user", "content": "a \\ud800 b"}]}'
ENDLESS = b'{"model": "assistant", "temperature": 1e400, "messages": [{"role": "user", "content": "hi"}]}'


def read(messages: Any = HI, **fields: Any) -> ChatRequest:
    body = {"model": "assistant", "messages": messages, **fields}
    return read_request(json.dumps(body).encode(), "assistant", {REFUSAL})


def refused(messages: Any = HI, **fields: Any) -> tuple[int, str]:
    with pytest.raises(GatewayError) as error:
        read(messages, **fields)
    return error.value.status, error.value.code


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"1", b"\xff", b"[" * 100_000, b"NaN", ENDLESS, PAIR])
def test_a_body_that_is_no_request_is_the_clients_fault(data: bytes):
    with pytest.raises(GatewayError) as error:
        read_request(data, "assistant", {REFUSAL})
    assert error.value.status == 400


def test_roles_and_texts_are_all_that_is_left_of_messages():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [
        {"role": "developer", "content": "be kind", "name": "x"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "yes", "tool_calls": []},
        {"role": "user", "content": "go on"},
    ]
    assert read(messages).messages == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "a\nb"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "go on"},
    ]


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (None, "invalid_messages"),
        ([], "invalid_messages"),
        ("hi", "invalid_messages"),
        ([1], "unsupported_role"),
        ([{"role": "tool", "content": "x"}], "invalid_messages"),
        ([{"role": "function", "content": "x"}], "unsupported_role"),
        ([{"role": "context", "content": {"generation_options": {}}}, *HI], "unsupported_role"),
        ([{"role": ["user"], "content": "x"}], "unsupported_role"),
        ([{"role": "user", "content": None}], "unsupported_content"),
        ([{"role": "user", "content": []}], "unsupported_content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "unsupported_content"),
        ([{"role": "user", "content": "  "}], "invalid_messages"),
        ([*HI, {"role": "assistant", "content": "Sure, "}], "invalid_messages"),
        ([user("a bomb"), {"role": "assistant", "content": REFUSAL}], "invalid_messages"),
        (HI * (MAX_MESSAGES + 1), "invalid_messages"),
    ],
)
def test_a_conversation_that_does_not_end_with_the_user_is_refused(messages: Any, code: str):
    assert refused(messages) == (400, code)


def test_a_refused_turn_is_left_out_with_its_refusal():
    refusal = {"role": "assistant", "content": f" {REFUSAL}\n"}
    assert read([user("a bomb"), refusal, *HI]).messages == HI
    data = json.dumps({"model": "assistant", "messages": [user("a bomb"), refusal, *HI]}).encode()
    assert read_request(data, "assistant", Refusals(f"{REFUSAL}\n").all).messages == HI, (
        "as YAML's block style ends a text"
    )
    kept = [user("why?"), {"role": "assistant", "content": "Because."}, *HI]
    assert read([refusal, *kept]).messages == [refusal, *kept]


@pytest.mark.parametrize("model", ["gpt-5", "", None, ["assistant"], "Assistant", "model"])
def test_another_model_cannot_be_chosen(model: Any):
    assert refused(model=model) == (404, "model_not_found")


@pytest.mark.parametrize(
    "fields",
    [
        {"guardrails": {"options": {"rails": {"input": False}}}},
        {"guardrails": {"config_id": "other"}},
        {"guardrails": {"context": {"user_message": "hi"}}},
        {"options": {"rails": []}},
        {"state": {}},
        {"config_id": "x"},
        {"config_ids": ["x"]},
        {"extra_body": {"x": 1}},
        {"add_generation_prompt": False},
        {"continue_final_message": True},
        {"chat_template": "{{ x }}"},
        {"guided_json": {}},
    ],
)
def test_nothing_else_can_be_asked_for(fields: dict[str, Any]):
    assert refused(**fields) == (400, "unsupported_parameter")


def test_an_unknown_name_is_shown_cut_and_without_control_characters():
    with pytest.raises(GatewayError) as error:
        read(**{"\n\x1b[31m中" + "x" * 1000: 1})
    assert error.value.message.isascii()
    assert error.value.message.isprintable()
    assert len(error.value.message) < 200


def test_null_and_values_without_effect_ask_for_nothing():
    nothing = dict.fromkeys((*PARAMETERS, "tool_choice", "response_format", "stream", "x", "stream_options"))
    assert read(**nothing) == read()
    same = {"n": 1, "logprobs": False, "tools": [], "response_format": {"type": "text"}}
    same |= {"service_tier": "auto", "user": "u", "metadata": {"a": "b"}, "store": True, "guardrails": {}}
    assert read(**same) == read()


def test_parameters_reach_the_model():
    given = {"temperature": 0.25, "top_p": 1, "max_tokens": 7, "seed": 3, "stop": ["x"]}
    assert read(**given).parameters == given
    assert read(stop="x").parameters == {"stop": "x"}
    assert read(max_completion_tokens=9).parameters == {"max_tokens": 9}
    assert read(max_completion_tokens=9, max_tokens=7).parameters == {"max_tokens": 7}


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": "hot"},
        {"seed": 10**400},
        {"max_tokens": -(2**65)},
        {"max_tokens": True},
        {"seed": [1]},
        {"stop": 1},
        {"stop": ["x", 1]},
        {"stop": ["x"] * 17},
        {"stream": "yes"},
        {"stream": 1},
        {"stream_options": True},
        {"stream_options": {"include_usage": "yes"}},
    ],
)
def test_parameters_of_a_wrong_type_are_refused(fields: dict[str, Any]):
    assert refused(**fields) == (400, "invalid_parameter")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_whatever_stands_in_a_field_is_read_or_refused(value: Any):
    for field in ("messages", "stop", "stream", "stream_options", "guardrails", "tools", "model", "n"):
        body = {"model": "assistant", "messages": HI} | {field: value}
        try:
            read_request(json.dumps(body).encode(), "assistant", {REFUSAL})
        except GatewayError as error:
            assert error.status in {400, 404}  # noqa: PT017 - reading is allowed as well
