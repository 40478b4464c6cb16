"""What an answer may look like, and what is none."""

import json
from typing import Any

import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.fake_model_server import FakeModelServer, Reply, Words
from tests.unit.worker.support.asking import ANSWER, Run, refusing, rows

from safety_worker.errors import InfrastructureError, InputError
from safety_worker.generation.completion import NoCompletionError, parse_completion


def choice(message: dict[str, Any] | None = None, **beside: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, **beside}], **beside}).encode()


@pytest.mark.parametrize(
    ("body", "text", "reasoning"),
    [
        (choice({"content": "yes"}), "yes", ""),
        (
            choice({"content": "yes"}, finish_reason=None, usage=None, id=None, logprobs=None, index=None),
            "yes",
            "",
        ),
        (
            choice(
                {
                    "role": None,
                    "content": "yes",
                    "tool_calls": None,
                    "refusal": None,
                    "reasoning_content": None,
                }
            ),
            "yes",
            "",
        ),
        (choice({"content": [{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]}), "yes", ""),
        (choice({"content": ["y", "es"]}), "yes", ""),
        (
            choice(
                {"content": [{"type": "output_text", "text": "yes"}, {"type": "image_url", "image_url": {}}]}
            ),
            "yes",
            "",
        ),
        (choice({"content": [{"type": "refusal", "refusal": "no"}]}), "no", ""),
        (choice({"content": []}), "", ""),
        (
            choice(
                {
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                        {"type": "text", "text": "yes"},
                    ]
                }
            ),
            "yes",
            "hm",
        ),
        (choice({"content": None, "refusal": "I can't"}), "I can't", ""),
        (choice({"content": "", "reasoning_content": "hm"}), "", "hm"),
        (choice({"content": None, "reasoning": "hm"}), "", "hm"),
        (choice({"content": "yes", "thinking": "hm"}), "yes", "hm"),
        (choice({"reasoning_content": "hm"}), "", "hm"),
        (choice({"content": None, "tool_calls": [{"function": {"name": "f"}}]}), "", ""),
        (choice({"tool_calls": [{"id": None}]}), "", ""),
        (choice(None, text="raw"), "raw", ""),
        (json.dumps({"choices": [{"text": "raw"}]}).encode(), "raw", ""),
        (json.dumps({"choices": [{"text": None}]}).encode(), "", ""),
    ],
)
def test_an_answer_in_every_spelling_is_read(body: bytes, text: str, reasoning: str) -> None:
    found = parse_completion(body)
    assert (found.text, found.reasoning) == (text, reasoning)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("length", "length"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("eos_token", "stop"),
        ("end_turn", "stop"),
        ("content_filter", "content_filter"),
        ("tool_calls", "tool_calls"),
        (None, ""),
        (5, ""),
    ],
)
def test_why_an_answer_ended_is_known_in_every_word_for_it(said: object, meant: str) -> None:
    assert parse_completion(choice({"content": "yes"}, finish_reason=said)).finish_reason == meant


@pytest.mark.parametrize("count", [None, True, -1, "3", 2.5, [], {}])
def test_a_count_of_tokens_that_is_none_is_missing(count: object) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 3}
    found = parse_completion(choice({"content": "yes"}, usage=usage))
    assert (found.prompt_tokens, found.completion_tokens) == (None, 3)


@pytest.mark.parametrize("usage", [None, [], "none", 5])
def test_usage_of_any_form_costs_no_answer(usage: object) -> None:
    assert parse_completion(choice({"content": "yes"}, usage=usage)).completion_tokens is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"<!doctype html><title>Sign in</title>",
        b"data: {}",
        b'{"choices": null}',
        b'{"choices": []}',
        b'{"choices": {}}',
        b'{"choices": [null]}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": {}}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"content": {"text": "x"}}}]}',
        b'{"choices": [{"error": {"message": "x", "code": 502}}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_none(body: bytes) -> None:
    with pytest.raises(NoCompletionError):
        parse_completion(body)


def test_a_prompt_that_gets_no_choices_for_good_is_refused_and_others_go_on(
    ask: Run, workplace: Workplace
) -> None:
    def filtered(prompt: str, _nth: int) -> Reply:
        return Reply(body=b'{"choices": [], "usage": null}') if prompt == "bad" else ANSWER

    with FakeModelServer(filtered) as server:
        ask(server, "bad", "good")
        assert server.asked["bad"] == 4
    assert rows(workplace)["bad"].error == "HTTP 200: no readable answer"
    assert rows(workplace)["good"].error == ""


@pytest.mark.parametrize("reason", ["content_filter", "SAFETY", "guardrail_intervened"])
def test_a_filter_that_leaves_the_content_out_is_one(reason: str, ask: Run, workplace: Workplace) -> None:
    body = choice({"role": "assistant"}, finish_reason=reason)
    with FakeModelServer(lambda prompt, _: Reply(body=body) if prompt == "bad" else ANSWER) as server:
        ask(server, "bad", "good")
        assert server.asked["bad"] == 1
    assert rows(workplace)["bad"].error == "withheld by the server's content filter"


@pytest.mark.parametrize(
    ("words", "reason", "said"),
    [
        (
            (400, {"error": {"message": "Budget has been exceeded!", "type": "budget_exceeded"}}),
            "RequestRefused",
            r"quota is used up \(budget_exceeded\): raise the account's limit",
        ),
        (
            (403, {"error": {"code": "unsupported_country_region_territory"}}),
            "Unauthorized",
            r"HTTP 403 \(unsupported_country_region_territory\)",
        ),
    ],
)
def test_a_budget_and_a_region_are_named(words: Words, reason: str, said: str, ask: Run) -> None:
    with refusing(words) as server, pytest.raises(InputError, match=said) as caught:
        ask(server)
    assert caught.value.reason == reason


def test_a_server_that_never_gives_choices_fails_the_try(ask: Run) -> None:
    empty = Reply(body=b'{"choices": null}')
    with (
        FakeModelServer(lambda *_: empty) as server,
        pytest.raises(InfrastructureError, match="without choices or text"),
    ):
        ask(server)


@pytest.mark.parametrize("code", [429, 502, "503"])
def test_an_error_that_passes_with_status_200_is_asked_again(
    code: object, ask: Run, workplace: Workplace
) -> None:
    error = Reply(body=json.dumps({"error": {"message": "provider failed", "code": code}}).encode())
    with FakeModelServer(lambda _, nth: error if nth == 0 else ANSWER) as server:
        ask(server)
    assert not any(row.error for row in rows(workplace).values())
