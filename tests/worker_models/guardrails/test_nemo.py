"""The gateway's engine with the real library, before a guard that answers as a test wants it to."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment
from tests.unit.worker.fake_model_server import FakeModelServer, Reply
from tests.worker_models.guardrails.gateway_process import make_config, write_config

from safety_gateway.errors import BadRequestError, GatewayError, UnavailableError
from safety_gateway.nemo import NemoRails
from safety_gateway.settings import RAILS_FOLDER
from safety_operator.children.guardrails_rails import GUARD_KEY_ENV

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:nemoguardrails.*")

SAFE = '{"User Safety": "safe", "Response Safety": "safe"}'
UNSAFE = '{"User Safety": "unsafe", "Safety Categories": "Guns and Illegal Weapons, Threat"}'
HI = [{"role": "user", "content": "hi"}]
WINDOW = (
    "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens: my-diagnosis"
)


@asynccontextmanager
async def rails_before(
    guard: Callable[[str, int], Reply],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    classifier: bool = True,
    seconds: float = 60,
) -> AsyncIterator[tuple[NemoRails, FakeModelServer]]:
    monkeypatch.setenv(GUARD_KEY_ENV, "none")
    with FakeModelServer(guard) as server:
        write_config(
            make_config(
                "http://m/v1",
                server.base_url,
                guard_name="model",
                guard_format="classifier" if classifier else "nemoguard",
            ),
            folder,
        )
        rails = NemoRails(folder / RAILS_FOLDER, seconds)
        await rails.start()
        try:
            yield rails, server
        finally:
            await rails.stop()


async def refusal_of(reply: Reply, folder: Path, monkeypatch: pytest.MonkeyPatch) -> GatewayError:
    async with rails_before(lambda _prompt, _nth: reply, folder, monkeypatch) as (rails, _):
        with pytest.raises(GatewayError) as error:
            await rails.check_input(HI)
    return error.value


def change_config(folder: Path, change: Callable[[str], str]) -> None:
    path = folder / RAILS_FOLDER / "config.yml"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def says(text: str) -> Callable[[str, int], Reply]:
    return lambda _prompt, _nth: Reply(text)


async def test_a_block_names_its_rail_and_the_guards_categories(tmp_path, monkeypatch):
    async with rails_before(says(UNSAFE), tmp_path, monkeypatch) as (rails, _):
        verdict = await rails.check_input(HI)
    assert verdict == (True, "content safety check input", ("Guns and Illegal Weapons", "Threat"))


async def test_what_is_safe_passes_both_ways(tmp_path, monkeypatch):
    async with rails_before(says(SAFE), tmp_path, monkeypatch) as (rails, _):
        assert not (await rails.check_input(HI)).blocked
        assert not (await rails.check_output(HI, "Hello.")).blocked


@pytest.mark.parametrize("classifier", [True, False])
async def test_requests_at_the_same_time_are_checked_with_their_own_conversations(
    tmp_path, monkeypatch, classifier
):
    async with rails_before(says(SAFE), tmp_path, monkeypatch, classifier=classifier) as (rails, server):
        conversations = [[*HI, {"role": "user", "content": f"mark-{number}-"}] for number in range(20)]
        await asyncio.gather(
            *(rails.check_output(each, f"answer-{n}-") for n, each in enumerate(conversations))
        )
    prompts = [body["messages"][-1]["content"] for body in server.bodies]
    assert len(prompts) == 20
    for number in range(20):
        (prompt,) = [each for each in prompts if f"mark-{number}-" in each]
        assert f"answer-{number}-" in prompt
        assert "hi" in prompt


@pytest.mark.parametrize(
    "reply",
    [
        *(Reply(text) for text in ("maybe", "", "[]", "{}", '{"User Safety": 1}', "<html>", "[" * 100_000)),
        Reply(f"```json\n{SAFE}\n```"),
        Reply(f"{SAFE} {UNSAFE}"),
        Reply('{"User Safety": "sa', finish_reason="length"),
        Reply('{"User Safety": "unsafe", "Safety Categories": null}'),
        Reply(body=json.dumps({"choices": [{"message": {"content": None}}]}).encode()),
        Reply(body=json.dumps({"choices": [{"message": {"content": [{"text": SAFE}]}}]}).encode()),
        *(
            Reply(body=body)
            for body in (b"", b"[]", b"<html>", b'{"choices": []}', b'{"error": {"message": "x"}}')
        ),
        Reply(status=307, body=b"", headers=(("Location", "/v1/other"),)),
        Reply(SAFE, cut=True),
    ],
)
async def test_what_is_no_verdict_closes_the_request(tmp_path, monkeypatch, reply):
    assert isinstance(await refusal_of(reply, tmp_path, monkeypatch), UnavailableError)


async def test_each_prompt_is_compiled_once_whatever_is_said(tmp_path, monkeypatch):
    compiled: list[str] = []
    compile_ = Environment.compile

    def count(self: Environment, source: str, *args: Any, **fields: Any) -> Any:
        compiled.append(source)
        return compile_(self, source, *args, **fields)

    monkeypatch.setattr(Environment, "compile", count)
    async with rails_before(says(SAFE), tmp_path, monkeypatch) as (rails, server):
        for text in ("one", "two", "{{ three }}"):
            await rails.check_input([{"role": "user", "content": text}])
            await rails.check_output(HI, text)
    assert len(compiled) == len(set(compiled))
    assert not any("three" in source for source in compiled)
    assert "{{ three }}" in server.bodies[-1]["messages"][-1]["content"]


async def test_another_word_than_safe_is_unsafe(tmp_path, monkeypatch):
    async with rails_before(says('{"User Safety": "safe?"}'), tmp_path, monkeypatch) as (rails, _):
        assert (await rails.check_input(HI)).blocked


@pytest.mark.parametrize("status", [401, 404, 429, 500])
async def test_what_a_guard_says_about_our_own_request_is_not_the_clients_fault(
    tmp_path, monkeypatch, status
):
    body = json.dumps({"error": {"message": "Incorrect API key provided: my-diagnosis"}}).encode()
    reply = Reply(status=status, body=body, headers=(("Retry-After", "0"),))
    error = await refusal_of(reply, tmp_path, monkeypatch)
    assert (error.status, error.code) == (503, "guardrails_unavailable")
    assert "diagnosis" not in error.message


async def test_a_guards_retry_after_is_kept(tmp_path, monkeypatch):
    reply = Reply(status=403, body=b"{}", headers=(("Retry-After", "9"),))
    assert (await refusal_of(reply, tmp_path, monkeypatch)).retry_after == 9


@pytest.mark.parametrize("status", [400, 413])
async def test_a_text_beyond_the_guards_window_is_told_with_the_limit(tmp_path, monkeypatch, status):
    body = json.dumps({"error": {"message": WINDOW, "code": "context_length_exceeded"}}).encode()
    error = await refusal_of(Reply(status=status, body=body), tmp_path, monkeypatch)
    assert isinstance(error, BadRequestError)
    assert (error.status, error.code) == (400, "context_length_exceeded")
    assert "4096 tokens" in error.message
    assert "diagnosis" not in error.message


async def test_a_guard_that_hangs_is_given_up(tmp_path, monkeypatch):
    release = threading.Event()

    def hang(_prompt: str, _nth: int) -> Reply:
        release.wait()
        return Reply(SAFE)

    async with rails_before(hang, tmp_path, monkeypatch, seconds=0.2) as (rails, _):
        with pytest.raises(UnavailableError, match="in time"):
            await rails.check_input(HI)
        release.set()


async def test_a_check_that_is_cancelled_closes_its_connection(tmp_path, monkeypatch):
    arrived, closed = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        while await reader.read(10_000):
            pass
        closed.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with rails_before(says(SAFE), tmp_path, monkeypatch) as (_, fake):
        change_config(tmp_path, lambda config: config.replace(fake.base_url, url))
        rails = NemoRails(tmp_path / RAILS_FOLDER, 60)
        await rails.start()
        checking = asyncio.create_task(rails.check_input(HI))
        await arrived.wait()
        checking.cancel()
        await closed.wait()
        await rails.stop()
    server.close()


async def test_only_the_directions_that_are_configured_are_checked(tmp_path, monkeypatch):
    async with rails_before(says(UNSAFE), tmp_path, monkeypatch) as (_, server):
        change_config(tmp_path, lambda config: config[: config.index("  output:")])
        rails = NemoRails(tmp_path / RAILS_FOLDER, 60)
        await rails.start()
        assert (await rails.check_input(HI)).blocked
        asked = len(server.bodies)
        assert not (await rails.check_output(HI, "Hello.")).blocked
        assert len(server.bodies) == asked
        await rails.stop()


def test_rails_that_the_engine_cannot_carry_out_are_refused_at_start(tmp_path, monkeypatch):
    monkeypatch.setenv(GUARD_KEY_ENV, "none")
    config: dict[str, Any] = {
        "models": [{"type": "content_safety", "engine": "openai", "model": "m"}],
        "rails": {"dialog": {"single_call": {"enabled": True}}},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="IORails cannot be used"):
        NemoRails(tmp_path, 60)
