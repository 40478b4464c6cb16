from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.support import SETTINGS, Gateway, answer, code, user

from safety_gateway.answers import Usage
from safety_gateway.callers import Callers
from safety_gateway.errors import RateLimitedError, UnauthorizedError
from safety_gateway.settings import CallerSettings

KEY, OTHER = "sk-0123456789abcdef", "sk-fedcba9876543210"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def gateway(folder: Path, **limits: Any) -> Gateway:
    (folder / "team-a").write_text(f"{KEY}\n")
    callers = (CallerSettings(name="team-a", **limits),)
    return Gateway(SETTINGS.model_copy(update={"callers": callers}), folder)


async def ask(gateway: Gateway, key: str | None = KEY, text: str = "hi", **fields: Any) -> Any:
    body = {"model": "assistant", "messages": [user(text)], **fields}
    async with gateway.client() as client:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return await client.post("/v1/chat/completions", json=body, headers=headers)


@pytest.mark.parametrize("key", [None, "", "sk", OTHER, f"{KEY}x", "ü", f" {KEY} x"])
async def test_without_a_key_nobody_gets_anything(tmp_path: Path, key: str | None):
    subject = gateway(tmp_path)
    refused = await ask(subject, key.encode() if key else key)  # type: ignore[arg-type]
    assert code(refused) == (401, "invalid_api_key")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert code(await subject.get("/v1/models")) == (401, "invalid_api_key")
    assert (await subject.get("/v1/health")).status_code == 200
    assert subject.model.asked == []


async def test_a_caller_asks_with_its_key(tmp_path: Path):
    subject = gateway(tmp_path)
    assert (await ask(subject)).status_code == 200
    assert subject.model.asked[0].caller == "team-a"


def test_keys_change_while_the_gateway_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "a").write_text(f"{KEY}\n")
    callers = Callers(tmp_path, [CallerSettings(name="a"), CallerSettings(name="b")])
    assert "caller b: its file of keys cannot be read" in caplog.text
    (tmp_path / "a").write_text(f"{KEY}\n\n {OTHER} \n")
    callers.read()
    assert callers.find(f"Bearer {KEY}") is callers.find(f"bearer {OTHER}")
    (tmp_path / "a").write_text("short\n")
    callers.read()
    callers.read()
    for key in (KEY, OTHER, "short"):
        with pytest.raises(UnauthorizedError):
            callers.find(f"Bearer {key}")
    assert caplog.text.count("fewer than 16 characters") == 1
    assert KEY not in caplog.text
    assert "short" not in caplog.text


def test_a_key_of_two_callers_belongs_to_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for name in ("a", "b"):
        (tmp_path / name).write_text(KEY)
    callers = Callers(tmp_path, [CallerSettings(name="a"), CallerSettings(name="b")])
    assert callers.find(f"Bearer {KEY}").name == "a"
    assert "caller b: its key is another caller's too" in caplog.text


def test_an_allowance_of_requests_grows_back(tmp_path: Path):
    (tmp_path / "a").write_text(KEY)
    clock = Clock()
    caller = Callers(tmp_path, [CallerSettings(name="a", requests_per_minute=2)], clock).find(f"Bearer {KEY}")
    caller.admit()
    caller.admit()
    with pytest.raises(RateLimitedError) as error:
        caller.admit()
    assert error.value.retry_after == pytest.approx(30)
    clock.now = 30.1
    caller.admit()
    clock.now = 1e6
    caller.admit()
    caller.admit()
    with pytest.raises(RateLimitedError):
        caller.admit()


def test_an_allowance_of_tokens_may_be_overdrawn_once(tmp_path: Path):
    (tmp_path / "a").write_text(KEY)
    clock = Clock()
    caller = Callers(tmp_path, [CallerSettings(name="a", tokens_per_minute=60)], clock).find(f"Bearer {KEY}")
    caller.admit()
    caller.spend(100)
    with pytest.raises(RateLimitedError) as error:
        caller.admit()
    assert error.value.retry_after == pytest.approx(41)
    clock.now = 41.1
    caller.admit()


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_a_request_took_is_counted(tmp_path: Path, streamed: bool):
    subject = gateway(tmp_path, tokens_per_minute=10)
    subject.model.answer = answer("Paris.", usage=Usage(500, 500, 1000))
    assert (await ask(subject, stream=streamed)).status_code == 200
    refused = await ask(subject)
    assert code(refused) == (429, "rate_limit_exceeded")
    assert 5900 < int(refused.headers["retry-after"]) < 6000


async def test_without_the_models_counts_the_texts_are_counted(tmp_path: Path):
    subject = gateway(tmp_path, tokens_per_minute=100)
    subject.model.answer = answer("word " * 200)
    await ask(subject, stream=True)
    assert code(await ask(subject)) == (429, "rate_limit_exceeded")


async def test_a_request_without_an_answer_takes_no_tokens(tmp_path: Path):
    subject = gateway(tmp_path, tokens_per_minute=10)
    subject.model.answer = RuntimeError("x")
    assert (await ask(subject, text="word " * 100)).status_code == 503
    assert (await ask(subject, text="a bomb " * 100)).status_code == 200
    subject.model.answer = answer("Paris.")
    assert (await ask(subject)).status_code == 200


async def test_a_caller_may_have_a_smaller_bound_for_bodies(tmp_path: Path):
    subject = gateway(tmp_path, max_body_bytes=2048)
    assert code(await ask(subject, text="x" * 3000)) == (413, "too_large")
    assert (await ask(subject, text="x" * 1000)).status_code == 200
