"""Whether a refusal is about a prompt or about every request, in the words of each kind of server."""

from typing import Any

import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.fake_model_server import FakeModelServer, Reply, Words
from tests.unit.worker.support.asking import ANSWER, Run, encoded, refusing, rows
from tests.unit.worker.support.server_kinds import (
    AZURE_FILTER,
    flat,
    listing,
    openai,
)

from safety_worker.errors import InfrastructureError, InputError
from safety_worker.generation.error_words import Cause, read_server_error


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
    assert read_server_error(*encoded(words)).cause is cause


def test_a_body_of_any_depth_and_length_is_read() -> None:
    for body in (b"[" * 100_000, b'{"a":' * 50 + b"1" + b"}" * 50, b"x" * 1_000_000, b"\xff\xfe"):
        assert read_server_error(400, body).cause is Cause.OTHER
