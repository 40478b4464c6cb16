"""Servers that are not vLLM: each kind is asked, and its list of models is read."""

import httpx
import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.fake_model_server import FakeModelServer, Reply, Words
from tests.unit.worker.support.asking import ANSWER, Run, fake, rows
from tests.unit.worker.support.server_kinds import (
    KINDS,
    LONG,
    Kind,
    listing,
)

from safety_worker.errors import InputError
from safety_worker.generation.model_list import has, read_names

KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@KIND
def test_every_kind_of_server_answers(kind: Kind, ask: Run, workplace: Workplace) -> None:
    with fake(kind) as server:
        assert ask(server).rows == 2
    assert {row.answer for row in rows(workplace).values()} == {"a polite answer"}


@KIND
def test_a_prompt_that_is_too_long_is_told_from_a_server_that_refuses(
    kind: Kind, ask: Run, workplace: Workplace
) -> None:
    with fake(kind) as server:
        ask(server, "short", LONG)
    found = rows(workplace)
    cut_silently = kind.too_long is None
    assert found[LONG].error == "" if cut_silently else "longer than the context" in found[LONG].error
    assert found["short"].error == ""


@KIND
def test_a_model_that_is_not_served_is_reported_at_once(kind: Kind, ask: Run) -> None:
    with fake(kind) as server:
        if kind.unknown is None:
            assert ask(server, model="other").rows == 2
            return
        with pytest.raises(InputError) as caught:
            ask(server, model="other")
        assert sum(server.asked.values()) <= 4
    assert caught.value.reason == "ModelNotServed"
    assert "'other'" in caught.value.message


def test_a_name_that_is_not_listed_but_answered_for_is_a_warning(ask: Run) -> None:
    with FakeModelServer(lambda *_: ANSWER, lists=listing("mistral-7b", "phi")) as server:
        assert "which it does not list (mistral-7b, phi)" in ask(server, model="other").warnings[0]


@pytest.mark.parametrize(
    "lists", [listing("model"), listing("MODEL:latest"), listing("mod*"), listing(), (403, {})]
)
def test_a_name_that_is_listed_or_has_no_list_is_none(lists: Words, ask: Run) -> None:
    with FakeModelServer(lambda *_: ANSWER, lists=lists) as server:
        assert ask(server).warnings == ()


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"data": [{"id": "a"}, {"id": null}, 5, {}]}', ["a"]),
        (b'[{"id": "a"}]', ["a"]),
        (b'{"data": null}', []),
        (b'{"data": {"id": "a"}}', []),
        (b'{"models": [{"name": "a"}]}', []),
        (b"<html>", []),
        (b"[" * 100_000, []),
        (b"", []),
    ],
)
def test_a_list_of_models_of_any_form(body: bytes, names: list[str]) -> None:
    assert read_names(body) == names


@pytest.mark.parametrize(
    ("name", "model", "found"),
    [
        ("llama3:latest", "llama3", True),
        ("llama3:8b", "llama3", False),
        ("openai/*", "openai/gpt-4o", True),
        ("*", "anything", True),
        ("Qwen/Qwen3-8B", "qwen/qwen3-8b", True),
        ("llama3", "llama3.1", False),
        ("[a-z]", "b", False),
        ("[a-z]*", "b", False),
    ],
)
def test_what_a_list_has(name: str, model: str, found: bool) -> None:
    assert has([name], model) is found


def test_a_server_that_loads_its_model_is_waited_for_whatever_its_list_says(
    ask: Run, workplace: Workplace
) -> None:
    with FakeModelServer(lambda _, nth: Reply(status=503) if nth < 3 else ANSWER, lists=listing()) as server:
        assert ask(server).rows == 2
    assert any("HTTP 503" in progress.message for progress in workplace.progress)


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.DecodingError])
def test_a_list_that_never_comes_is_none(
    error: type[Exception], ask: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        raise error("the list")

    monkeypatch.setattr(httpx.AsyncClient, "get", never)
    with FakeModelServer(lambda *_: ANSWER) as server:
        assert ask(server).rows == 2
