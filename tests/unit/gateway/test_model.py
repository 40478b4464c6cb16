import asyncio
import json
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.worker.fake_model_server import Behaviour, FakeModelServer, Reply

from safety_gateway import model
from safety_gateway.answers import Answer, Choice, Usage
from safety_gateway.chat_request import ChatRequest
from safety_gateway.embeddings import EmbeddingRequest
from safety_gateway.errors import BadRequestError, NotServedError, UnavailableError
from safety_gateway.model import ServedModel
from safety_gateway.model_answers import CallParts, Delta
from safety_gateway.settings import ModelServer
from safety_gateway.tools import ToolCall

REQUEST = ChatRequest([{"role": "user", "content": "hi"}], {"max_tokens": 7})
SAID = json.dumps({"error": {"message": "This model's maximum context length is 9 tokens."}}).encode()


@asynccontextmanager
async def asking(
    url: str, seconds: float = 60, *, opens_reasoning: bool = False
) -> AsyncIterator[ServedModel]:
    server = ModelServer(url=url, name="model", timeout_seconds=seconds, opens_reasoning=opens_reasoning)
    served = ServedModel(server, "the-key", ssl.create_default_context())
    await served.start()
    try:
        yield served
    finally:
        await served.stop()


async def ask_whole(behaviour: Behaviour) -> Answer:
    with FakeModelServer(behaviour, api_key="the-key") as server:
        async with asking(server.base_url) as served:
            return await served.ask(REQUEST)


async def ask(behaviour: Behaviour) -> Choice:
    return (await ask_whole(behaviour)).choices[0]


def reply(**fields: object) -> Behaviour:
    return lambda _prompt, _nth: Reply(**fields)  # type: ignore[arg-type]


async def test_the_model_gets_its_own_name_the_key_and_the_parameters():
    with FakeModelServer(reply(text="yes"), api_key="the-key") as server:
        async with asking(server.base_url) as served:
            answer = await served.ask(REQUEST)
    assert answer == Answer((Choice("yes", "stop"),), Usage(1, 1, 2))
    assert server.bodies == [{"model": "model", "messages": REQUEST.messages, "max_tokens": 7}]


async def test_an_answer_that_was_cut_says_so():
    assert (await ask(reply(text="so", finish_reason="length"))).finish_reason == "length"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<think>a plan</think>\n\nParis.", "Paris."),
        ("<think>a plan</think>", ""),
        ("<think>a plan", ""),
        ("<think>a</think>Par<think>b</think>is.<think>", "Paris.<think>"),
        ("The mark is <think>.", "The mark is <think>."),
        ("</think>Paris.<think>a<think>b</think>", "Paris."),
        pytest.param("a plan\n</think>\n\nParis.", "Paris.", id="the chat template opened the reasoning"),
        ("a plan</think>", ""),
        pytest.param("<think>" * 200_000, "", id="many beginnings without an end"),
        ("Paris.", "Paris."),
    ],
)
async def test_reasoning_is_not_shown(text: str, shown: str):
    assert (await ask(reply(text=text))).text == shown


@pytest.mark.parametrize(("text", "shown"), [("a plan", ""), ("a plan</think> Paris.", "Paris.")])
async def test_a_limit_of_tokens_shows_no_reasoning_that_the_template_opened(text: str, shown: str):
    behaviour = reply(text=text, finish_reason="length")
    with FakeModelServer(behaviour, api_key="the-key") as server:
        async with asking(server.base_url, opens_reasoning=True) as served:
            (choice,) = (await served.ask(REQUEST)).choices
    assert (choice.text, choice.finish_reason) == (shown, "length")


async def test_an_answer_that_is_reasoning_only_is_empty():
    answer = await ask(reply(text="", finish_reason="length", beside={"reasoning": "hm"}))
    assert (answer.text, answer.finish_reason) == ("", "length")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": {}}]}',
        b'{"choices": [{"message": {"content": 1}}]}',
        b'{"choices": [{"message": {"content": "x"}, "finish_reason": ["stop"]}]}',
        b'{"choices": [{"message": {"content": null, "tool_calls": [{"id": "x"}]}}]}',
    ],
)
async def test_what_is_no_answer_closes_the_request(body: bytes):
    with pytest.raises(UnavailableError):
        await ask(reply(body=body))


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
async def test_what_a_server_says_about_our_own_request_is_not_the_clients_fault(status: int):
    with pytest.raises(UnavailableError) as error:
        await ask(reply(status=status, body=b"Incorrect API key", headers=(("Retry-After", "9"),)))
    assert error.value.retry_after == 9
    assert "key" not in error.value.message


@pytest.mark.parametrize(("header", "seconds"), [("9" * 400, 3600), ("Wed, 21 Oct 2037 07:28:00 GMT", None)])
async def test_a_time_to_wait_has_a_bound(header: str, seconds: int | None):
    with pytest.raises(UnavailableError) as error:
        await ask(reply(status=429, headers=(("Retry-After", header),)))
    assert error.value.retry_after == seconds


async def test_a_server_that_fails_is_not_asked_again():
    with FakeModelServer(reply(status=500), api_key="the-key") as server:
        async with asking(server.base_url) as served:
            with pytest.raises(UnavailableError):
                await served.ask(REQUEST)
    assert len(server.bodies) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_what_the_client_can_change_is_told_in_the_servers_words(status: int):
    with pytest.raises(BadRequestError, match="maximum context length is 9 tokens"):
        await ask(reply(status=status, body=SAID))
    with pytest.raises(BadRequestError, match="no reason given"):
        await ask(reply(status=status, body=b"<html>"))


async def test_a_server_that_cannot_answer_now_is_asked_again():
    answer = await ask(lambda _prompt, nth: Reply("yes") if nth else Reply(status=503, body=b"busy"))
    assert answer.text == "yes"


@pytest.mark.parametrize("counts", [b"true", b"-5", b"1.5", b"NaN", b'"7"', b"null"])
async def test_counts_that_are_none_are_left_out(counts: bytes):
    usage = b'{"prompt_tokens": 1, "completion_tokens": %s}' % counts
    body = b'{"choices": [{"message": {"content": "x"}}], "usage": %s}' % usage
    assert (await ask_whole(reply(body=body))).usage is None


async def test_another_address_is_not_asked_instead():
    with FakeModelServer(reply(text="from elsewhere")) as other:
        moved = (("Location", f"{other.base_url}/chat/completions"),)
        with pytest.raises(UnavailableError):
            await ask(reply(status=307, body=b"", headers=moved))
        assert other.bodies == []


async def test_a_connection_that_breaks_is_opened_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model, "ATTEMPTS", 1)
    with pytest.raises(UnavailableError):
        await ask(reply(text="half an answer", cut=True))
    with pytest.raises(UnavailableError):
        async with asking("http://127.0.0.1:9/v1") as served:
            await served.ask(REQUEST)


async def test_a_model_that_hangs_is_given_up():
    release = threading.Event()

    def hang(_prompt: str, _nth: int) -> Reply:
        release.wait()
        return Reply()

    with FakeModelServer(hang) as server:
        async with asking(server.base_url, seconds=0.1) as served:
            with pytest.raises(UnavailableError):
                await served.ask(REQUEST)
        release.set()


async def test_a_request_that_is_cancelled_closes_its_connection():
    closed = asyncio.Event()
    arrived = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        arrived.set()
        while await reader.read(1000):
            pass
        closed.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asking(f"http://127.0.0.1:{port}/v1") as served:
        task = asyncio.create_task(served.ask(REQUEST))
        await arrived.wait()
        task.cancel()
        await closed.wait()
    server.close()


async def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert (await ask(reply(text="yes"))).text == "yes"


def sse(*events: object) -> Behaviour:
    """A server that answers with server-sent events; texts stand as they are."""
    lines = (item if isinstance(item, str) else f"data: {json.dumps(item)}\n\n" for item in events)
    return reply(body="".join(lines).encode())


def chunk(delta: object = None, reason: object = None, **fields: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": reason, **fields}]}


async def parts(behaviour: Behaviour) -> list[Delta | Usage]:
    with FakeModelServer(behaviour, api_key="the-key") as server:
        async with asking(server.base_url) as served:
            found = [part async for part in served.stream(REQUEST)]
    assert server.bodies[0]["stream"] is True
    assert server.bodies[0]["stream_options"] == {"include_usage": True}
    return found


async def test_a_stream_has_the_parts_of_the_answer_and_the_counts():
    found = await parts(
        sse(
            ": comment\n\n",
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning": "hm"}),
            chunk({"content": "Pa"}, logprobs={"content": [{"token": "Pa"}]}),
            chunk({"content": "ris"}, "length"),
            {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
            "data: [DONE]\n\n",
            "data: what comes later is not read\n\n",
        )
    )
    assert found == [
        Delta(),
        Delta(reasoning="hm"),
        Delta(text="Pa", logprobs=[{"token": "Pa"}]),
        Delta(text="ris", finish_reason="length"),
        Usage(1, 2, 3),
    ]


@pytest.mark.parametrize(
    "events",
    [
        ["data: <html>\n\n"],
        ["data: 1\n\n"],
        [{"error": {"message": "out of memory: my-diagnosis"}}],
        [chunk({"content": 1})],
        [chunk({"content": "x"}, ["stop"])],
        [{"choices": [{"index": "0", "delta": {}}]}],
        [{"choices": [1]}],
        ["data: " + "x" * 5_000_000],
    ],
)
async def test_a_stream_that_cannot_be_read_closes_the_request(events: list[object]):
    with pytest.raises(UnavailableError) as error:
        await parts(sse(*events))
    assert "diagnosis" not in error.value.message


async def test_a_refused_stream_is_told_as_any_request():
    with pytest.raises(BadRequestError, match="maximum context length is 9 tokens"):
        await parts(reply(status=400, body=SAID))


async def test_a_stream_whose_connection_breaks_is_an_error():
    with pytest.raises(UnavailableError):
        await parts(reply(text="half an answer", cut=True))


def test_calls_come_in_parts_by_their_place():
    found = CallParts()
    found.add(({"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}},))
    found.add(({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}, {"index": 1}))
    found.add(({"index": 0, "function": {"arguments": "}"}},))
    assert found.calls() == (ToolCall("a", "f", "{}"), ToolCall("b", "g", ""))


@pytest.mark.parametrize(
    "part",
    [
        {"function": {}},
        {"index": "x"},
        {"index": 0, "function": {"arguments": {}}},
        {"index": 0, "function": {"arguments": "x" * 1_048_577}},
        1,
    ],
)
def test_parts_of_calls_that_make_no_sense_close_the_request(part: Any):
    with pytest.raises(UnavailableError):
        CallParts().add((part,))


def test_calls_have_a_bound():
    with pytest.raises(UnavailableError):
        CallParts().add(tuple({"index": number} for number in range(129)))


async def test_a_server_without_embeddings_is_told_as_such():
    with FakeModelServer(reply(text="yes"), api_key="the-key") as server:
        async with asking(server.base_url) as served:
            with pytest.raises(NotServedError, match="has no embeddings"):
                await served.embed(EmbeddingRequest(("hi",)))
