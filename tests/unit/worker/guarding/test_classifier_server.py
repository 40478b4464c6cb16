"""The classifier server's protocol, over ASGI, with a fake classifier."""

import argparse
import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from safety_worker.guarding.classifier_server import MAX_BODY_BYTES, build_app, find_prompt, share
from safety_worker.guarding.verdicts import Thresholds


def predict(texts: list[str]) -> list[float]:
    return [0.9 if "bomb" in text else 0.1 for text in texts]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build_app(predict, Thresholds(0.5, 0.5)))
    async with httpx.AsyncClient(transport=transport, base_url="http://classifier") as client:
        yield client


def question(*conversation: str, **response: str) -> str:
    turns = [{"role": "user", "content": text} for text in conversation]
    return json.dumps({"conversation": turns, **response})


async def chat(client: httpx.AsyncClient, content: Any) -> dict[str, str]:
    body = {
        "model": "any",
        "messages": [{"role": "user", "content": content}],
        "temperature": 1e-20,
        "max_tokens": 9,
    }
    answer = await client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    return json.loads(answer.json()["choices"][0]["message"]["content"])


async def test_chat_completions(client: httpx.AsyncClient) -> None:
    assert await chat(client, question("hello")) == {"User Safety": "safe"}
    assert (await chat(client, question("bomb")))["User Safety"] == "unsafe"
    assert (await chat(client, question("hello", response="bomb")))["Response Safety"] == "unsafe"


async def test_a_request_whose_client_left_while_it_waited_is_not_judged() -> None:
    """Rails that gave up would otherwise keep the classifier busy for nobody."""
    began, may_end = threading.Event(), threading.Event()
    judged: list[str] = []

    def slow(texts: list[str]) -> list[float]:
        judged.extend(texts)
        began.set()
        may_end.wait()
        return [0.1] * len(texts)

    app = build_app(slow, Thresholds(0.5, 0.5))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://classifier") as client:
        first = asyncio.create_task(chat(client, question("first")))
        await asyncio.to_thread(began.wait)
        body = json.dumps({"prompt": question("second")}).encode()
        incoming = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            return incoming.pop(0)

        async def send(message: dict[str, Any]) -> None:
            statuses.append(message.get("status", 0))

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/completions",
            "headers": [],
            "query_string": b"",
        }
        second = asyncio.create_task(app(scope, receive, send))
        may_end.set()
        assert await first == {"User Safety": "safe"}
        await second
    assert judged == ["first"]
    assert statuses[0] == 503


async def test_completions(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/v1/completions", json={"prompt": question("bomb")})).json()
    assert answer["object"] == "text_completion"
    assert json.loads(answer["choices"][0]["text"])["User Safety"] == "unsafe"


async def test_the_answer_has_the_form_of_openai(client: httpx.AsyncClient) -> None:
    body = {"messages": [{"role": "user", "content": question("hello")}]}
    answer = (await client.post("/v1/chat/completions", json=body)).json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "content-safety"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] == 0


async def test_models_and_health(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/models")).json()["data"][0]["id"] == "content-safety"
    assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"[]", b"{}", b'{"messages": []}', b'{"prompt": 3}', b"\xff", b"[" * 100_000],
    ids=["empty", "text", "list", "object", "no-message", "number", "bytes", "deep"],
)
async def test_a_request_that_is_none_is_answered_unsafe(client: httpx.AsyncClient, content: bytes) -> None:
    answer = await client.post("/v1/chat/completions", content=content)
    assert answer.status_code == 200
    assert '\\"User Safety\\": \\"unsafe\\"' in answer.text


async def test_a_body_too_large_is_answered_unsafe(client: httpx.AsyncClient) -> None:
    content = json.dumps({"prompt": question("hello"), "x": "y" * MAX_BODY_BYTES})
    answer = await client.post("/v1/completions", content=content)
    assert json.loads(answer.json()["choices"][0]["text"])["User Safety"] == "unsafe"


def test_only_one_message_holds_the_question() -> None:
    message = {"role": "user", "content": question("hello")}
    assert find_prompt({"messages": [message]}) == question("hello")
    assert find_prompt({"messages": [message, message]}) == ""
    assert find_prompt({"messages": [message], "prompt": "x"}) == question("hello")
    assert find_prompt({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}) == ""


@pytest.mark.parametrize("text", ["0", "-1", "1.1", "nan"])
def test_thresholds_that_block_all_or_nothing_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        share(text)
