"""What the settings say of tools, against the running application."""

import json
from typing import Any

import pytest
from tests.unit.gateway.support import REFUSAL, SETTINGS, Gateway, code, said, user
from tests.unit.gateway.test_app import events_of
from tests.unit.gateway.test_tools import tool

from safety_gateway.answers import Answer, Choice
from safety_gateway.model_answers import Delta
from safety_gateway.settings import ToolCalls
from safety_gateway.tools import ToolCall

ANYTHING = {"type": "object"}
OFFER = {"tools": [tool("weather", ANYTHING), tool("mail", ANYTHING)]}
ASKS = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def make(**rules: Any) -> Gateway:
    return Gateway(SETTINGS.model_copy(update={"tool_calls": ToolCalls(**rules)}))


def calls(arguments: str) -> Answer:
    return Answer((Choice("", "tool_calls", tool_calls=(ToolCall("call-1", "weather", arguments),)),))


def with_result(text: str, *first: dict[str, Any]) -> dict[str, Any]:
    talk = [*first, {"role": "assistant", "tool_calls": [ASKS]}]
    return {
        "model": "assistant",
        "messages": [*talk, {"role": "tool", "tool_call_id": "call-1", "content": text}],
        **OFFER,
    }


async def test_a_tool_that_is_not_allowed_is_named_and_its_request_refused():
    gateway = make(allowed=["weather"])
    refused = await gateway.ask(**OFFER)
    assert code(refused) == (400, "invalid_tools")
    assert "mail" in refused.json()["error"]["message"]
    assert not gateway.model.asked
    assert (await gateway.ask(tools=OFFER["tools"][:1])).status_code == 200


@pytest.mark.parametrize("fields", [OFFER, {"messages": with_result("x", user("hi"))["messages"]}])
async def test_tools_that_are_switched_off_are_neither_offered_nor_answered(fields: dict[str, Any]):
    assert code(await make(enabled=False).ask(**fields)) == (400, "invalid_tools")


@pytest.mark.parametrize("rules", [{"allowed": ["mail"]}, {"allowed": []}, {"enabled": False}])
async def test_a_stream_is_refused_for_its_tools_before_it_begins(rules: dict[str, Any]):
    gateway = make(**rules)
    assert code(await gateway.ask(stream=True, **OFFER)) == (400, "invalid_tools")
    assert not gateway.model.asked


@pytest.mark.parametrize(
    ("rules", "arguments", "shown"),
    [
        ({"max_argument_bytes": 20}, '{"text": "short"}', True),
        ({"max_argument_bytes": 20}, json.dumps({"text": "long" * 10}), False),
        ({"max_argument_bytes": 20}, '{"text": "éééééé"}', False),
        ({"check_calls": True}, '{"text": "bomb"}', False),
        ({"check_calls": False}, '{"text": "bomb"}', True),
        ({"check_calls": False}, "no JSON", False),
    ],
)
async def test_the_rules_hold_for_calls_in_streams(rules: dict[str, Any], arguments: str, shown: bool):
    """The model sends a call in pieces."""
    gateway = make(**rules)
    first = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": arguments[:5]}}
    rest = {"index": 0, "function": {"arguments": arguments[5:]}}
    gateway.model.parts = [
        *(Delta(calls=(part,)) for part in (first, rest)),
        Delta(finish_reason="tool_calls"),
    ]
    events = events_of((await gateway.ask(stream=True, **OFFER)).text)
    choices = [choice for event in events for choice in event["choices"]]
    assert choices[-1]["finish_reason"] == ("tool_calls" if shown else "content_filter")
    sent = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
    assert [call["function"]["arguments"] for call in sent] == ([arguments] if shown else [])


async def test_a_call_with_longer_arguments_than_allowed_is_withheld():
    gateway = make(max_argument_bytes=20)
    gateway.model.answer = calls('{"text": "short"}')
    assert (await gateway.ask(**OFFER)).json()["choices"][0]["finish_reason"] == "tool_calls"
    gateway.model.answer = calls(json.dumps({"text": "long" * 10}))
    assert said(await gateway.ask(**OFFER)) == (REFUSAL, "content_filter")
    assert gateway.audited[-1]["rail"] == "tool call validation"


@pytest.mark.parametrize("checked", [True, False])
async def test_calls_pass_the_rails_for_answers_unless_the_settings_say_otherwise(checked: bool):
    gateway = make(check_calls=checked)
    gateway.model.answer = calls('{"text": "bomb"}')
    (choice,) = (await gateway.ask(**OFFER)).json()["choices"]
    assert choice["finish_reason"] == ("content_filter" if checked else "tool_calls")
    assert bool(gateway.rails.outputs) == checked


async def test_calls_that_are_not_read_still_have_to_fit_their_schema_and_text_beside_them_is_read():
    gateway = make(check_calls=False)
    gateway.model.answer = calls("no JSON")
    assert said(await gateway.ask(**OFFER)) == (REFUSAL, "content_filter")
    (choice,) = calls("{}").choices
    gateway.model.answer = Answer((Choice("a bomb", "tool_calls", tool_calls=choice.tool_calls),))
    assert said(await gateway.ask(**OFFER)) == (REFUSAL, "content_filter")


@pytest.mark.parametrize("checked", [True, False])
async def test_results_pass_the_rails_for_requests_unless_the_settings_say_otherwise(checked: bool):
    gateway = make(check_results=checked)
    got = await gateway.post(with_result("bomb", user("weather?")))
    assert (said(got)[1] == "content_filter") == checked


async def test_rails_that_read_no_results_judge_the_users_last_text():
    gateway = make(check_results=False)
    await gateway.post(with_result("rain", user("weather?")))
    assert [message["role"] for message in gateway.rails.inputs[0]] == [
        *("system", "user", "assistant", "user")
    ]
    assert gateway.rails.inputs[0][-1]["content"] == "weather?"
    (asked,) = gateway.model.asked
    assert asked.messages[-1]["content"] == "rain", "the model reads it"


async def test_a_conversation_without_a_user_is_read_with_its_results():
    got = await make(check_results=False).post(with_result("bomb"))
    assert said(got)[1] == "content_filter"
