"""What the operator's proofs ask counts nowhere, and nothing but their key makes a request one of theirs."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.support import SETTINGS, Gateway, answer, user

from safety_gateway.answers import Usage
from safety_gateway.callers import PROOF, Callers
from safety_gateway.errors import UnavailableError
from safety_gateway.settings import CallerSettings

KEY, TEAM = "proof-0123456789abcdef", "sk-fedcba9876543210"
BODY = {"model": "assistant", "messages": [user("a bomb")]}


def gateway(folder: Path, *callers: CallerSettings) -> Gateway:
    (folder / PROOF).write_text(KEY)
    for caller in callers:
        (folder / caller.name).write_text(TEAM)
    own = (CallerSettings(name=PROOF),) if callers else ()
    return Gateway(SETTINGS.model_copy(update={"callers": (*callers, *own), "audit_text": True}), folder)


async def ask(gateway: Gateway, headers: dict[str, str], path: str = "", **fields: Any) -> int:
    async with gateway.client() as client:
        if path:
            return (await client.get(path, headers=headers)).status_code
        response = await client.post("/v1/chat/completions", json=BODY | fields, headers=headers)
        return response.status_code


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def counted(gateway: Gateway) -> dict[str, float]:
    """Samples that say that there was something, but for the canaries' own and the state of upstreams."""
    own = ("safety_gateway_canaries", "safety_gateway_upstream_up")
    return {
        f"{sample.name} {sample.labels}": sample.value
        for metric in gateway.telemetry.metrics.registry.collect()
        for sample in metric.samples
        if sample.value and not sample.name.endswith("_created") and not metric.name.startswith(own)
    }


@pytest.mark.parametrize("callers", [(), (CallerSettings(name="team", requests_per_minute=1),)])
@pytest.mark.parametrize("stream", [False, True])
async def test_canaries_are_answered_and_leave_no_line_and_no_number(
    tmp_path: Path, callers: tuple[CallerSettings, ...], stream: bool
):
    subject = gateway(tmp_path, *callers)
    subject.model.answer = answer("a bomb", usage=Usage(5, 2, 7))
    harmless = [user("hi")]
    for _ in range(3):
        assert await ask(subject, bearer(KEY), stream=stream) == 200
        assert await ask(subject, bearer(KEY), stream=stream, messages=harmless) == 200
    assert await ask(subject, bearer(KEY), "/v1/models") == 200
    assert await ask(subject, bearer(KEY), "/v1/models/assistant") == 200
    subject.rails.error = UnavailableError("down")
    assert await ask(subject, bearer(KEY), stream=stream) == 503
    assert subject.audited == []
    assert counted(subject) == {}
    assert subject.metric("canaries_total", status="200") == 8
    assert subject.metric("canaries_total", status="503") == 1


FORGED = [
    {},
    bearer(PROOF),
    bearer(f"{KEY}x"),
    bearer(KEY[:-1]),
    bearer(KEY.upper()),
    bearer(""),
    {"Authorization": KEY},
    {"Authorization": f"Basic {KEY}"},
    {"X-Api-Key": KEY},
    {"X-Safety-Canary": "true", "X-Request-Id": PROOF, "User-Agent": "safety-worker"},
    {"Cookie": f"authorization=Bearer {KEY}"},
]


@pytest.mark.parametrize("headers", FORGED, ids=map(str, range(len(FORGED))))
async def test_nothing_else_hides_a_request(tmp_path: Path, headers: dict[str, str]):
    subject = gateway(tmp_path)
    assert await ask(subject, headers) == 200
    (line,) = subject.audited
    assert (line["caller"], line["direction"]) == ("anybody", "input")
    assert subject.metric("requests_total", endpoint="chat", status="200", caller="anybody") == 1
    assert subject.metric("canaries_total", status="200") is None


@pytest.mark.parametrize("field", ["user", "metadata"])
async def test_no_field_of_a_request_hides_it(tmp_path: Path, field: str):
    subject = gateway(tmp_path)
    given: Any = KEY if field == "user" else {"caller": PROOF, "key": KEY}
    await ask(subject, {}, **{field: given})
    assert subject.metric("canaries_total", status="200") is None
    assert len(subject.audited) == 1


async def test_a_forged_key_is_refused_and_counted_where_keys_are_wanted(tmp_path: Path):
    subject = gateway(tmp_path, CallerSettings(name="team"))
    assert await ask(subject, bearer(f"{KEY}x")) == 401
    assert subject.metric("requests_total", endpoint="chat", status="401", caller="unknown") == 1


async def test_a_caller_that_has_the_proofs_key_counts_as_itself(tmp_path: Path):
    subject = gateway(tmp_path, CallerSettings(name="team", requests_per_minute=1))
    (tmp_path / "team").write_text(KEY)
    subject = Gateway(subject.pipeline._settings, tmp_path)
    assert await ask(subject, bearer(KEY)) == 200
    assert [line["caller"] for line in subject.audited] == ["team"]
    assert await ask(subject, bearer(KEY)) == 429


async def test_one_canary_hides_no_other_request_that_runs_meanwhile(tmp_path: Path):
    subject = gateway(tmp_path)
    await asyncio.gather(ask(subject, bearer(KEY)), ask(subject, {}), ask(subject, bearer(KEY)))
    assert [(line["number"], line["caller"]) for line in subject.audited] == [(0, "anybody")]


def test_without_a_file_of_its_key_there_are_no_canaries(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    callers = Callers(tmp_path, ())
    assert not callers.find(f"Bearer {KEY}").canary
    assert caplog.text == ""
    (tmp_path / PROOF).write_text("")
    callers.read()
    assert not callers.find("Bearer ").canary
    (tmp_path / PROOF).write_text("short")
    callers.read()
    assert not callers.find("Bearer short").canary
    (tmp_path / PROOF).write_text(KEY)
    callers.read()
    assert callers.find(f"Bearer {KEY}").canary
