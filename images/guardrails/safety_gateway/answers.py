"""Answers in OpenAI's form: whole, and as server-sent events."""

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

BLOCKED = "content_filter"
"""OpenAI's finish reason of a withheld answer: by it a client tells a block from a refusal of the model's."""
FINISH_REASONS = frozenset({"stop", "length", BLOCKED})
DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": waiting for the rails\n\n"
"""A comment, which clients skip: keeps proxies from closing a silent connection."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that the model counted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


NO_TOKENS = Usage(0, 0, 0)
"""Of a request that never reached the model."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets."""

    text: str
    finish_reason: str
    """One of FINISH_REASONS."""
    usage: Usage | None = None
    """None: the model's server gave none."""


def completion(answer: Answer, model: str) -> dict[str, Any]:
    """The whole answer."""
    message = {"role": "assistant", "content": answer.text}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return _head("chat.completion", model) | {"choices": [choice], "usage": _usage(answer)}


def events(answer: Answer, model: str, *, include_usage: bool) -> Iterator[bytes]:
    """The checked answer as server-sent events."""
    base = _head("chat.completion.chunk", model)
    if include_usage:
        base["usage"] = None
    content = {"role": "assistant", "content": answer.text}
    for delta, reason in ((content, None), ({}, answer.finish_reason)):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        yield event(base | {"choices": [choice]})
    if include_usage:
        yield event(base | {"choices": [], "usage": _usage(answer)})
    yield DONE


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + dump(data) + b"\n\n"


def dump(data: dict[str, Any]) -> bytes:
    """JSON on one line, with every script as it is."""
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def _usage(answer: Answer) -> dict[str, int] | None:
    if answer.usage is None:
        return None
    return {name: getattr(answer.usage, name) for name in Usage.__slots__}
