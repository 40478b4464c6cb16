"""What a model server's answer holds, for every spelling of the OpenAI protocol that servers have.

Contents may be text, null or a list of parts; reasoning stands in the text, in a field of its own or in parts
of its own; every optional field may be missing or null. Answers are hostile input: they are cleaned of what
no file can hold.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from safety_worker.text import clean

REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Fields of a message with reasoning: vLLM and SGLang use the first and the second, Ollama the last two."""

INSTEAD = ("refusal", "tool_calls", "function_call", *REASONING_FIELDS)
"""Fields of a message that may stand without any content."""

THOUGHTS = frozenset({"thinking", "reasoning"})
"""Types of content parts that hold reasoning (Mistral, LiteLLM)."""


WITHHELD = "content_filter"
"""Finish reason of an answer that rails, or a server's content filter, withheld; some add why."""

LENGTH = "length"
"""Finish reason of an answer that ended at its token limit."""

FINISHES = {
    **dict.fromkeys(
        (
            *("length", "max_tokens", "max_length", "max_output_tokens", "model_length", "error_limit"),
            "model_context_window_exceeded",
        ),
        LENGTH,
    ),
    **dict.fromkeys(
        (
            *("safety", "prohibited_content", "blocklist", "spii", "recitation", "content_filtered"),
            *("guardrail_intervened", "sensitive", "refusal", "error_toxic"),
        ),
        WITHHELD,
    ),
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete"), "stop"),
}
"""Other servers' words (TGI, Mistral, GLM, Cohere, gateways to Claude, Gemini and Bedrock) for an answer that
ended at its limit, that a filter withheld, or that ended by itself."""

BROKEN_OFF = frozenset(
    {"error", "abort", "aborted", "cancelled", "canceled", "load", "unload", "network_error"}
    | {"insufficient_system_resource", "user_cancel"}
)
"""Finish reasons of an answer that its server did not finish (SGLang, Mistral, OpenRouter, DeepSeek)."""

STREAMS = (b"data:", b"event:", b"id:", b"retry:", b": ")
"""How a stream of server-sent events begins."""


@dataclass(frozen=True)
class Completion:
    """What the server answered."""

    text: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    """Tokens as the server's own tokenizer counts them; None where it does not say."""
    seconds: float | None = None
    """From the request to its answer."""
    reasoning: str = ""
    """Reasoning that the server gives apart from the text."""


class NoCompletionError(Exception):
    """The body is no completion. The message says what it is instead, and never quotes it."""

    def __init__(self, what: str, *, body: Mapping[str, Any] | None = None) -> None:
        super().__init__(what)
        self.body = body
        """The body, where it is JSON: what a server says instead of an answer."""


def parse_completion(content: bytes) -> Completion:
    """The first choice of a response's body.

    Raises
    ------
    NoCompletionError
        If there is none, its content is of no known form, or its server did not finish it.
    """
    body = _object(content)
    choice = _first_choice(body)
    message = choice.get("message")
    given = message if isinstance(message, Mapping) else choice
    finish = _finish(choice.get("finish_reason"))
    if finish.lower() in BROKEN_OFF:
        raise NoCompletionError("an answer that was broken off", body={})
    if finish.startswith((WITHHELD, LENGTH)) and message is not None:  # some leave the content out then
        given = {"content": None, **given}
    text, thoughts = _content(given, "content" if given is not choice else "text")
    usage = body.get("usage")
    counts = usage if isinstance(usage, Mapping) else {}
    return Completion(
        text=clean(text),
        finish_reason=finish,
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
        reasoning=clean(_reasoning(given) or thoughts),
    )


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        if content.lstrip().startswith(STREAMS):
            raise NoCompletionError("a stream, for which nobody asked", body={}) from error
        page = content.lstrip()[:1] == b"<"
        raise NoCompletionError(
            "a web page instead of an answer" if page else "an answer that is no completion"
        ) from error
    if not isinstance(body, Mapping):
        raise NoCompletionError("an answer that is no completion", body={})
    return body


def _first_choice(body: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, Mapping) or body.get("error"):
        raise NoCompletionError("an answer without choices, or with an error", body=body)
    if first.get("error"):
        raise NoCompletionError("an error instead of a choice", body={"error": first["error"]})
    return first


def _content(given: Mapping[str, Any], field: str) -> tuple[str, str]:
    """Text and reasoning of a message; some servers put a refusal in a field of its own."""
    content = given.get(field)
    if field not in given and not any(given.get(name) for name in INSTEAD):
        raise NoCompletionError("a choice without text", body={})
    if isinstance(content, list):
        text, thoughts = _join(_texts(content, thoughts=False)), _join(_texts(content, thoughts=True))
    elif content is None or isinstance(content, str):
        text, thoughts = content or "", ""
    else:
        raise NoCompletionError("an answer whose content is no text", body={})
    refusal = given.get("refusal")
    return text or (refusal if isinstance(refusal, str) else ""), thoughts


def _texts(parts: Iterable[Any], *, thoughts: bool) -> Iterable[str]:
    """Texts of content parts: those of reasoning, or all others. Images and the like have none."""
    for part in parts:
        if isinstance(part, str):
            yield "" if thoughts else part
        elif isinstance(part, Mapping) and (part.get("type") in THOUGHTS) is thoughts:
            yield _part(part)


def _part(part: Mapping[str, Any]) -> str:
    for name in ("text", "refusal", "thinking", "reasoning"):
        value = part.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            return _join(_texts(value, thoughts=False))
    return ""


def _join(texts: Iterable[str]) -> str:
    return "".join(texts)


def _reasoning(message: Mapping[str, Any]) -> str:
    """What a server that takes reasoning out of the text puts next to it."""
    for name in REASONING_FIELDS:
        value = message.get(name)
        text = _join(_texts(value, thoughts=False)) if isinstance(value, list) else value
        if isinstance(text, str) and text:
            return text
    return ""


def _finish(reason: object) -> str:
    """OpenAI's word for why an answer ended, where a server has another; empty: it does not say."""
    word = clean(reason) if isinstance(reason, str) else ""
    return FINISHES.get(word.lower(), word)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
