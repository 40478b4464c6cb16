"""What a server refuses is asked otherwise where answers stay the same, and named where they would not."""

from typing import Any

import pytest
from tests.unit.worker.conftest import GREEDY
from tests.unit.worker.fake_model_server import FakeModelServer, Words
from tests.unit.worker.support.asking import ANSWER, Run, encoded, refusing
from tests.unit.worker.support.server_kinds import (
    BOTH,
    FIXED_TEMPERATURE,
    UNSUPPORTED_MAX,
    flat,
    openai,
    wrapped,
)

from safety_records.sampling import Sampling
from safety_worker.errors import InputError
from safety_worker.generation.error_words import read_server_error
from safety_worker.generation.request_form import RequestForm

RANDOM = Sampling(temperature=0.7, max_tokens=64)


HOT = Sampling(temperature=1.0, max_tokens=64)


def fields(server: FakeModelServer) -> dict[str, Any]:
    """Parameters of the last request."""
    return {name: value for name, value in server.bodies[-1].items() if name not in ("model", "messages")}


@pytest.mark.parametrize(
    ("words", "refused", "sampling", "sent"),
    [
        (
            UNSUPPORTED_MAX,
            "max_tokens",
            GREEDY,
            {"temperature": 0.0, "top_p": 1.0, "max_completion_tokens": 64},
        ),
        (wrapped(BOTH), "top_p", HOT, {"temperature": 1.0, "max_tokens": 64, "seed": ...}),
        (
            (422, {"error": "`top_p` must be > 0.0 and < 1.0"}),
            "top_p",
            GREEDY,
            {"temperature": 0.0, "max_tokens": 64},
        ),
        (
            openai(
                "Unsupported parameter: 'temperature' is not supported",
                "unsupported_parameter",
                "temperature",
            ),
            "temperature",
            HOT,
            {"top_p": 1.0, "max_tokens": 64, "seed": ...},
        ),
        (
            (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_p"], "input": 1.0}]}),
            "top_p",
            GREEDY,
            {"temperature": 0.0, "max_tokens": 64},
        ),
        (
            flat("[{'type': 'extra_forbidden', 'loc': ('body', 'max_tokens'), 'msg': 'Extra inputs'}]"),
            "max_tokens",
            GREEDY,
            {"temperature": 0.0, "top_p": 1.0, "max_completion_tokens": 64},
        ),
    ],
)
def test_a_parameter_without_effect_is_asked_otherwise(
    words: Words, refused: str, sampling: Sampling, sent: dict[str, Any], ask: Run
) -> None:
    with refusing(words, only=lambda body: refused in body) as server:
        result = ask(server, "one", "two", "three", sampling=sampling)
        last = fields(server)
        assert sum(server.asked.values()) <= 3 + 2, "it is learned once"
    assert result.counts[0].generated == 3
    assert last.keys() == sent.keys()
    assert all(last[name] == value for name, value in sent.items() if value is not ...)


def test_several_parameters_are_learned_one_after_the_other(ask: Run) -> None:
    def refuses(body: dict[str, Any]) -> Words | None:
        for name in ("max_tokens", "top_p", "temperature"):
            if name in body:
                said = f"Unsupported parameter: '{name}' is not supported with this model."
                return openai(said, "unsupported_parameter", name)
        return None

    with FakeModelServer(lambda *_: ANSWER, refuses=refuses) as server:
        assert ask(server, sampling=HOT).rows == 2
        assert fields(server).keys() == {"max_completion_tokens", "seed"}


@pytest.mark.parametrize(
    ("words", "refused", "sampling", "said"),
    [
        (
            FIXED_TEMPERATURE,
            "temperature",
            GREEDY,
            r"refuses temperature \(unsupported_value\): set temperature",
        ),
        (
            (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"]}]}),
            "seed",
            RANDOM,
            r"HTTP 422: refuses seed \(extra_forbidden\): random answers could not be repeated",
        ),
        (
            wrapped(
                "openai does not support parameters: ['seed'], for model=m", kind="UnsupportedParamsError"
            ),
            "seed",
            RANDOM,
            r"refuses seed \(UnsupportedParamsError\)",
        ),
        (
            openai("top_p must be 1", None, "top_p"),
            "top_p",
            Sampling(temperature=0.7, top_p=0.5, max_tokens=64),
            "refuses top_p: set topP to 1",
        ),
        (
            openai(
                "max_tokens is too large: 64. This model supports at most 16 completion tokens",
                "invalid_value",
                "max_tokens",
            ),
            "max_tokens",
            GREEDY,
            r"refuses max_tokens \(invalid_value\): lower maxTokens",
        ),
        (
            openai(
                "'max_tokens' or 'max_completion_tokens' is too large: 64. This model's maximum context "
                "length is 32 tokens"
            ),
            "max_tokens",
            GREEDY,
            "longer than the context: maxTokens leaves no room",
        ),
        (
            openai(
                "As of transformers v4.44, default chat template is no longer allowed, so you must provide a "
                "chat template"
            ),
            "messages",
            GREEDY,
            "no chat template, or no chat model: give the server a chat template",
        ),
        ((400, "no idea"), "messages", GREEDY, "refuses every request, HTTP 400: maxTokens may exceed"),
    ],
)
def test_a_parameter_with_an_effect_is_named_at_once(
    words: Words, refused: str, sampling: Sampling, said: str, ask: Run
) -> None:
    with refusing(words, only=lambda body: refused in body) as server:
        with pytest.raises(InputError, match=said) as caught:
            ask(server, *(f"prompt {number}" for number in range(50)), sampling=sampling)
        assert sum(server.asked.values()) <= 2 * 3 + 2, "not every row is asked"
    assert caught.value.reason == "RequestRefused"


def test_what_was_learned_of_one_request_holds_for_those_in_flight() -> None:
    asking = RequestForm()
    body = {"max_tokens": 8, "temperature": 0.0, "top_p": 1.0}
    words = read_server_error(*encoded(UNSUPPORTED_MAX))
    assert asking.learn(words, body, body)
    assert asking.learn(words, body, body), "refused before it was learned: ask again"
    assert not asking.learn(words, body, asking.apply(body)), "and never for ever"


@pytest.mark.parametrize("temperature", [0.0, 0.3, 0.999, 2.0])
@pytest.mark.parametrize("name", ["temperature", "seed"])
def test_a_setting_that_changes_answers_is_never_left_out(name: str, temperature: float) -> None:
    body = {"temperature": temperature, "top_p": 0.9, "seed": 1, "max_tokens": 8}
    words = read_server_error(
        *encoded(openai(f"Unsupported parameter: '{name}'", "unsupported_parameter", name))
    )
    learned = RequestForm().learn(words, body, body)
    assert learned is (name == "seed" and temperature == 0.0), "greedy answers have no use for a seed"
