"""Canary prompts through the guarded endpoint: which were refused, which were answered, and how fast."""

import statistics
import time
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple

import httpx

from safety_records.stages import ProveStage
from safety_worker.empty_answers import find_empty_reason
from safety_worker.generation.completion import LENGTH, WITHHELD
from safety_worker.generation.request_form import key_header
from safety_worker.generation.shown_certificate import verify_of
from safety_worker.guarding.canary_set import Canaries, Conversation, as_messages, draw

ANSWER_SECONDS = 120.0
"""Time limit of one answer; a small model on a busy processor is slow."""

MAX_TOKENS = 48
"""Enough to tell an answer from the refusal."""

MORE_TOKENS = 2048
"""Room of a second try for an answer without text: a reasoning model needs it to come to its answer."""


class Reply(StrEnum):
    """What came back."""

    REFUSED = "refused"
    """The guarded endpoint says that the rails withheld the answer."""
    DECLINED = "declined"
    """The words of the rails' refusal without that mark: the model's own, so no rail is proved."""
    ANSWERED = "answered"
    """A text that is not the refusal."""
    SILENT = "silent"
    """A completion without text, which no rail withheld: it shows neither rails nor a model that answers."""
    ERROR = "error"
    """No completion at all."""


class Canary(NamedTuple):
    """One prompt and what came back. The text itself is not kept."""

    number: int
    unsafe: bool
    """Whether the prompt has to be refused; else it has to be answered."""
    reply: Reply
    milliseconds: int
    detail: str = ""
    """For an error status or kind of failure, for a silent one why."""


def canaries_of(spec: ProveStage) -> Canaries:
    """The conversations of a proof: those that the spec names, and those that it draws."""
    drawn = draw(spec.languages, spec.each, spec.inputs_hash)
    return Canaries(
        (*((prompt,) for prompt in spec.unsafe), *drawn.unsafe),
        (*((prompt,) for prompt in spec.benign), *drawn.benign),
    )


async def ask_all(spec: ProveStage, key: str) -> list[Canary]:
    """Ask all prompts, one after the other so that the times mean something."""
    canaries = canaries_of(spec)
    asked = [(prompt, True) for prompt in canaries.unsafe] + [(prompt, False) for prompt in canaries.benign]
    verify = verify_of(spec.guarded)
    async with httpx.AsyncClient(headers=key_header(key), timeout=ANSWER_SECONDS, verify=verify) as client:
        return [
            await ask(client, spec, number, prompt, unsafe) for number, (prompt, unsafe) in enumerate(asked)
        ]


async def ask(
    client: httpx.AsyncClient, spec: ProveStage, number: int, prompt: Conversation, unsafe: bool
) -> Canary:
    """Ask one prompt, and once more with more room if the answer holds no text."""
    body = build_request(spec.guarded.model, *prompt)
    canary = await _ask(client, spec, number, body, unsafe)
    if canary.reply is not Reply.SILENT:
        return canary
    return await _ask(client, spec, number, body | {"max_tokens": MORE_TOKENS}, unsafe)


async def _ask(
    client: httpx.AsyncClient, spec: ProveStage, number: int, body: dict[str, Any], unsafe: bool
) -> Canary:
    started = time.monotonic()
    try:
        response = await client.post(chat_url(spec.guarded.base_url), json=body)
    except httpx.HTTPError as error:
        reply, detail = Reply.ERROR, type(error).__name__
    else:
        reply, detail = read_reply(response, spec.refusal)
    return Canary(number, unsafe, reply, round((time.monotonic() - started) * 1000), detail)


def chat_url(base_url: str) -> str:
    """Where chat requests go."""
    return f"{base_url.rstrip('/')}/chat/completions"


def build_request(model: str, *turns: str) -> dict[str, Any]:
    """A chat request for a short answer."""
    return {"model": model, "messages": as_messages(turns), "max_tokens": MAX_TOKENS, "temperature": 0}


def read_reply(response: httpx.Response, refusal: str) -> tuple[Reply, str]:
    """What a response is. Only what is marked as withheld counts as refused: an error is no rail."""
    choice = find_choice(response)
    if choice is None:
        return Reply.ERROR, f"HTTP {response.status_code}"
    if choice.get("finish_reason") == WITHHELD:
        return Reply.REFUSED, ""
    text = choice_text(choice)
    if text.strip() == refusal.strip():
        return Reply.DECLINED, ""
    silence = find_empty_reason(
        text, reasoning=_has_reasoning(choice), cut=choice.get("finish_reason") == LENGTH
    )
    return (Reply.ANSWERED, "") if silence is None else (Reply.SILENT, silence.value)


def find_choice(response: httpx.Response) -> dict[str, Any] | None:
    """The first answer of a completion, with text or without; None if the response is no completion."""
    if not response.is_success:
        return None
    try:
        choice = response.json()["choices"][0]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return choice if isinstance(choice, dict) and ("message" in choice or "text" in choice) else None


def choice_text(choice: dict[str, Any]) -> str:
    """An answer's text, in one piece or in parts; empty if it has none."""
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else choice.get("text")
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _has_reasoning(choice: dict[str, Any]) -> bool:
    message = choice.get("message")
    return isinstance(message, dict) and any(message.get(name) for name in ("reasoning", "reasoning_content"))


def median_ms(canaries: Iterable[Canary]) -> int | None:
    """Median time; None without any."""
    times = [canary.milliseconds for canary in canaries]
    return round(statistics.median(times)) if times else None
