"""LangChain's ChatOpenAI with tools at the running gateway."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from tests.clients.agents_model import CITIES, END
from tests.clients.conftest import KEY


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def joined(parts) -> AIMessage:
    whole = next(parts)
    for part in parts:
        whole += part
    return whole


@pytest.mark.parametrize("stream", [False, True])
def test_an_agent_calls_its_tool_three_times_and_answers(endpoint: str, stream: bool):
    model = ChatOpenAI(
        base_url=endpoint, api_key=KEY, model="assistant", max_retries=0, stream_usage=True
    ).bind_tools([weather])
    messages, called = [HumanMessage("What is the weather like?")], []
    while True:
        answer = joined(model.stream(messages)) if stream else model.invoke(messages)
        messages.append(answer)
        if not answer.tool_calls:
            break
        for call in answer.tool_calls:
            called.append(call["args"]["city"])
            messages.append(ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]))
    assert (tuple(called), answer.content) == (CITIES, END)
    assert answer.usage_metadata["total_tokens"] == 18
