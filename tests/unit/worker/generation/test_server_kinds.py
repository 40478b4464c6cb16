"""Servers that are not vLLM: each kind is asked as it wants to be, or its own reason is said at once."""

import functools
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.unit.worker.conftest import GREEDY, Workplace, served
from tests.unit.worker.fake_model_server import FakeModelServer, Reply, Words
from tests.unit.worker.support.server_kinds import (
    AZURE_FILTER,
    BOTH,
    FIXED_TEMPERATURE,
    KINDS,
    LONG,
    UNSUPPORTED_MAX,
    Kind,
    flat,
    listing,
    openai,
    when,
    wrapped,
)

from safety_records.result import StageResult
from safety_records.sampling import Sampling
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.generation import engine
from safety_worker.generation.completion import NoCompletionError, parse_completion
from safety_worker.generation.error_words import Cause, read_server_error
from safety_worker.generation.model_list import has, read_names
from safety_worker.generation.request_form import RequestForm
from safety_worker.generation.retries import RetryPolicy
from safety_worker.generation.shards import read_rows
from safety_worker.rows import GeneratedRow
from safety_worker.stages import generate

HASTY = RetryPolicy(ready_seconds=60.0, retry_seconds=1.0, request_seconds=30.0, first_delay_seconds=0.01)
ANSWER = Reply("a polite answer")

Run = Callable[..., StageResult]


@pytest.fixture
def ask(workplace: Workplace, suite: Callable, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the generate stage at a server."""
    task = functools.partial(engine.AnsweringTask, policy=HASTY)
    monkeypatch.setattr(generate, "AnsweringTask", task)

    def run(
        server: FakeModelServer,
        *prompts: str,
        model: str = "model",
        sampling: Sampling = GREEDY,
        key_env: str = "",
    ) -> StageResult:
        uri = workplace.configmap("prompts", "suite.txt", "\n".join(prompts or ("one", "two")))
        target = served(server.base_url).model_copy(update={"model": model, "api_key_env": key_env})
        return workplace.run(
            "generate", target=target, sampling=sampling, suites=[suite("s", uri)], concurrency=2
        )

    return run


def rows(workplace: Workplace) -> dict[str, GeneratedRow]:
    found = read_rows(workplace.folder("generate"), "rows", GeneratedRow).values()
    return {row.prompt: row for row in found}


def fake(kind: Kind) -> FakeModelServer:
    return FakeModelServer(lambda *_: ANSWER, lists=kind.lists, refuses=kind.refuses)


def refusing(words: Words, *, only: Callable[[dict[str, Any]], bool] = lambda _: True) -> FakeModelServer:
    return FakeModelServer(lambda *_: ANSWER, refuses=when(only, words))


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


# What is asked otherwise, and what never is

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
    words = read_server_error(*_encoded(UNSUPPORTED_MAX))
    assert asking.learn(words, body, body)
    assert asking.learn(words, body, body), "refused before it was learned: ask again"
    assert not asking.learn(words, body, asking.apply(body)), "and never for ever"


@pytest.mark.parametrize("temperature", [0.0, 0.3, 0.999, 2.0])
@pytest.mark.parametrize("name", ["temperature", "seed"])
def test_a_setting_that_changes_answers_is_never_left_out(name: str, temperature: float) -> None:
    body = {"temperature": temperature, "top_p": 0.9, "seed": 1, "max_tokens": 8}
    words = read_server_error(
        *_encoded(openai(f"Unsupported parameter: '{name}'", "unsupported_parameter", name))
    )
    learned = RequestForm().learn(words, body, body)
    assert learned is (name == "seed" and temperature == 0.0), "greedy answers have no use for a seed"


def _encoded(words: Words) -> tuple[int, bytes]:
    status, said = words
    return status, (said if isinstance(said, str) else json.dumps(said)).encode()


# Whether it is the prompt or every request


def test_a_content_filter_refuses_prompts_and_not_the_run(ask: Run, workplace: Workplace) -> None:
    def bad(body: dict[str, Any]) -> bool:
        return "bad" in body["messages"][-1]["content"]

    with refusing(AZURE_FILTER, only=bad) as server:
        ask(server, "bad 1", "bad 2", "bad 3", "good")
    found = rows(workplace)
    assert found["good"].error == ""
    assert found["bad 1"].error == "HTTP 400: withheld by the server's content filter (content_filter)"


@pytest.mark.parametrize("reason", ["content_filter", "content_filter: SAFETY"])
def test_an_answer_that_a_filter_withholds_is_not_answered(
    reason: str, ask: Run, workplace: Workplace
) -> None:
    withheld = Reply("", finish_reason=reason, beside={"refusal": ""})
    with FakeModelServer(lambda prompt, _: withheld if prompt == "bad" else ANSWER) as server:
        ask(server, "bad", "good")
    assert rows(workplace)["bad"].error == "withheld by the server's content filter"
    assert not rows(workplace)["bad"].blocked
    assert rows(workplace)["good"].error == ""


@pytest.mark.parametrize("status", [403, 404])
def test_a_firewall_that_forbids_one_prompt_ends_nothing(status: int, ask: Run, workplace: Workplace) -> None:
    page = (status, "<html>Request blocked</html>")
    with refusing(page, only=lambda body: "DROP TABLE" in body["messages"][-1]["content"]) as server:
        ask(server, "'; DROP TABLE users", "good", "better")
    assert [row.prompt for row in rows(workplace).values() if row.error] == ["'; DROP TABLE users"]


@pytest.mark.parametrize(
    ("words", "reason", "said"),
    [
        (
            (401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}),
            "Unauthorized",
            "apiKeySecretRef",
        ),
        ((403, {"detail": "Forbidden"}), "Unauthorized", "apiKeySecretRef"),
        ((404, {"detail": "Not Found"}), "EndpointNotFound", "up to and including /v1"),
        ((404, "<html>404</html>"), "EndpointNotFound", "check url"),
        ((405, {"detail": "Method Not Allowed"}), "EndpointNotFound", "HTTP 405"),
        (
            (200, {"error": "Unexpected endpoint or method. (POST /chat/completions). Returning 200 anyway"}),
            "EndpointNotFound",
            "check url",
        ),
        (
            (
                403,
                {
                    "error": {
                        "message": "Project `p` does not have access to model `m`",
                        "code": "model_not_found",
                    }
                },
            ),
            "ModelNotServed",
            "'model'",
        ),
        (
            (402, {"error": {"message": "Insufficient credits"}}),
            "RequestRefused",
            "the quota is used up: raise",
        ),
    ],
)
@pytest.mark.parametrize("lists", [listing("model"), (404, {}), (401, {})])
def test_what_holds_for_every_request_is_reported_at_once(
    words: Words, reason: str, said: str, lists: Words, ask: Run
) -> None:
    with FakeModelServer(lambda *_: ANSWER, lists=lists, refuses=lambda _: words) as server:
        with pytest.raises(InputError) as caught:
            ask(server, *(f"prompt {number}" for number in range(50)))
        assert sum(server.asked.values()) <= 4
    assert (caught.value.reason, said in caught.value.message) == (reason, True), caught.value.message


@pytest.mark.parametrize("key", ["right", "right\n", " right \r\n"])
def test_a_key_from_a_file_has_its_line_break_taken_off(key: str, ask: Run, workplace: Workplace) -> None:
    workplace.environment["KEY"] = key
    with FakeModelServer(lambda *_: ANSWER, api_key="right") as server:
        assert ask(server, key_env="KEY").rows == 2


@pytest.mark.parametrize("key", ["two\nlines", "schl\u00fcssel", "a\x00b"])
def test_a_key_that_no_header_can_hold_is_reported_at_once(key: str, ask: Run, workplace: Workplace) -> None:
    workplace.environment["KEY"] = key
    with (
        FakeModelServer(lambda *_: ANSWER) as server,
        pytest.raises(InputError, match="InvalidKey") as caught,
    ):
        ask(server, key_env="KEY")
    assert key not in caught.value.message


def test_a_redirect_names_the_host_that_it_leads_to_and_no_more(ask: Run) -> None:
    away = (("Location", "https://login.example.com/sign-in?token=secret"),)
    with (
        FakeModelServer(lambda *_: Reply(status=307, body=b"", headers=away)) as server,
        pytest.raises(
            InputError, match=r"HTTP 307, a redirect to https://login\.example\.com: set url"
        ) as caught,
    ):
        ask(server)
    assert "secret" not in caught.value.message


def test_a_quota_that_is_used_up_is_named_when_the_time_for_retries_ends(ask: Run) -> None:
    said = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    with (
        refusing((429, said)) as server,
        pytest.raises(InfrastructureError, match=r"quota is used up \(insufficient_quota\)"),
    ):
        ask(server)


SECRET = "PLUTONIUM"


@pytest.mark.parametrize(
    "words",
    [
        openai(f"Invalid prompt: {SECRET}", SECRET, SECRET, type=SECRET),
        (400, SECRET),
        (422, {"detail": [{"type": SECRET, "loc": ["body", SECRET], "msg": SECRET, "input": SECRET}]}),
        (200, {"error": {"message": SECRET, "code": SECRET}}),
        (403, {"error": SECRET}),
        (404, {"error": {"message": f"The model {SECRET} does not exist"}}),
        (500, SECRET),
    ],
)
def test_nothing_that_a_server_says_gets_into_messages(words: Words, ask: Run, workplace: Workplace) -> None:
    with refusing(words) as server, pytest.raises((InputError, InfrastructureError)) as caught:
        ask(server)
    assert SECRET not in caught.value.message
    assert SECRET not in " ".join(progress.message for progress in workplace.progress)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (flat("System role not supported"), Cause.ROLES),
        (flat("Conversation roles must alternate user/assistant/user/assistant/..."), Cause.ROLES),
        (openai("Developer instruction is not enabled for models/gemma-3-4b-it", 400), Cause.ROLES),
        (
            openai("Unsupported value: 'messages[0].role' does not support 'system' with this model."),
            Cause.OTHER,
        ),
        (
            (500, {"error": "Template error: template not found", "error_type": "template_error"}),
            Cause.NO_CHAT,
        ),
        (
            openai(
                "This is not a chat model and thus not supported in the v1/chat/completions endpoint.",
                None,
                "model",
                404,
            ),
            Cause.NO_CHAT,
        ),
        ((400, {"error": {"message": '"bge-m3" does not support chat', "type": "api_error"}}), Cause.NO_CHAT),
        (
            (
                400,
                {
                    "error": {
                        "message": "Your prompt was flagged as potentially violating our usage policy",
                        "code": "invalid_prompt",
                    }
                },
            ),
            Cause.FILTERED,
        ),
        (
            (
                403,
                {
                    "error": {
                        "message": "Your chosen model requires moderation and your input was flagged",
                        "code": 403,
                    }
                },
            ),
            Cause.FILTERED,
        ),
        (
            (
                400,
                {
                    "code": "data_inspection_failed",
                    "message": "Input data may contain inappropriate content.",
                },
            ),
            Cause.FILTERED,
        ),
        (flat("max_tokens must be at least 1, got -12."), Cause.CONTEXT),
        ((400, {"error": {"message": "Input is too long for requested model."}}), Cause.CONTEXT),
        ((400, {"message": "context deadline exceeded"}), Cause.OTHER),
        ((404, {"message": "no Route matched with those values"}), Cause.ROUTE),
        ((404, "404 page not found"), Cause.ROUTE),
        (
            (
                401,
                {
                    "error": {
                        "message": "key not allowed to access model. This key can only access models=['a']",
                        "type": "key_model_access_denied",
                        "code": "401",
                    }
                },
            ),
            Cause.MODEL,
        ),
        ((400, {"error": None}), Cause.OTHER),
        ((400, [1, 2]), Cause.OTHER),
        ((400, ""), Cause.OTHER),
        ((400, "<html>context length</html>"), Cause.OTHER),
        (
            (
                422,
                {
                    "detail": [
                        {"loc": ["body", "messages"], "input": "the maximum context length is 5 tokens"}
                    ]
                },
            ),
            Cause.OTHER,
        ),
    ],
)
def test_causes_are_found_in_every_wording(words: Words, cause: Cause) -> None:
    assert read_server_error(*_encoded(words)).cause is cause


def test_a_body_of_any_depth_and_length_is_read() -> None:
    for body in (b"[" * 100_000, b'{"a":' * 50 + b"1" + b"}" * 50, b"x" * 1_000_000, b"\xff\xfe"):
        assert read_server_error(400, body).cause is Cause.OTHER


# What an answer may look like


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
