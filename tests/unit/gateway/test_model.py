import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.unit.worker.fake_model_server import Behaviour, FakeModelServer, Reply

from safety_gateway import model
from safety_gateway.answers import Answer, Usage
from safety_gateway.chat_request import ChatRequest
from safety_gateway.errors import BadRequestError, UnavailableError
from safety_gateway.model import ServedModel
from safety_gateway.settings import ModelServer

REQUEST = ChatRequest([{"role": "user", "content": "hi"}], {"max_tokens": 7})
SAID = json.dumps({"error": {"message": "This model's maximum context length is 9 tokens."}}).encode()


@asynccontextmanager
async def asking(url: str, seconds: float = 60) -> AsyncIterator[ServedModel]:
    served = ServedModel(ModelServer(url=url, name="model", timeout_seconds=seconds), "the-key")
    await served.start()
    try:
        yield served
    finally:
        await served.stop()


async def ask(behaviour: Behaviour) -> Answer:
    with FakeModelServer(behaviour, api_key="the-key") as server:
        async with asking(server.base_url) as served:
            return await served.ask(REQUEST)


def reply(**fields: object) -> Behaviour:
    return lambda _prompt, _nth: Reply(**fields)  # type: ignore[arg-type]


async def test_the_model_gets_its_own_name_the_key_and_the_parameters():
    with FakeModelServer(reply(text="yes"), api_key="the-key") as server:
        async with asking(server.base_url) as served:
            answer = await served.ask(REQUEST)
    assert answer == Answer("yes", "stop", Usage(1, 1, 2))
    assert server.bodies == [{"model": "model", "messages": REQUEST.messages, "max_tokens": 7}]


async def test_an_answer_that_was_cut_says_so():
    assert (await ask(reply(text="so", finish_reason="length"))).finish_reason == "length"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<think>a plan</think>\n\nParis.", "Paris."),
        ("<think>a plan</think>", ""),
        ("<think>a plan", "<think>a plan"),
        ("<think>a</think>Par<think>b</think>is.<think>", "Paris.<think>"),
        ("</think>Paris.<think>a<think>b</think>", "Paris."),
        pytest.param("a plan\n</think>\n\nParis.", "Paris.", id="the chat template opened the reasoning"),
        ("a plan</think>", ""),
        pytest.param("<think>" * 200_000, "<think>" * 200_000, id="many beginnings without an end"),
        ("Paris.", "Paris."),
    ],
)
async def test_reasoning_is_not_shown(text: str, shown: str):
    assert (await ask(reply(text=text))).text == shown


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
    assert (await ask(reply(body=body))).usage is None


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
