"""Answers in OpenAI's form: whole, and as server-sent events."""

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from safety_gateway.json_text import as_read
from safety_gateway.tools import ToolCall

BLOCKED = "content_filter"
"""OpenAI's finish reason of a withheld answer: by it a client tells a block from a refusal of the model's."""
FINISH_REASONS = frozenset({"stop", "length", "tool_calls", BLOCKED})
DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": waiting for the rails\n\n"
"""A comment, which clients skip: keeps proxies from closing a silent connection."""

LogProbs = list[dict[str, Any]]
"""One entry for each token, as the model's server gives it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that the model counted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


NO_TOKENS = Usage(0, 0, 0)
"""Of a request that never reached the model."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the answers to a request, or a part of one."""

    text: str = ""
    finish_reason: str | None = None
    """One of FINISH_REASONS; None: more follows."""
    index: int = 0
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: LogProbs | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that rails could check."""
        return not (self.text or self.reasoning or self.tool_calls)

    @property
    def said(self) -> str:
        """What a client would read as text: reasoning and answer."""
        return "\n".join(part for part in (self.reasoning, self.text) if part)

    @property
    def checked_text(self) -> str:
        """All that a client would read, as one text for the rails."""
        calls = (f"{call.name} {as_read(call.arguments)}" for call in self.tool_calls)
        return "\n".join(part for part in (self.reasoning, self.text, *calls) if part)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets."""

    choices: tuple[Choice, ...]
    usage: Usage | None = None
    """None: the model's server gave none."""


def completion(answer: Answer, model: str) -> dict[str, Any]:
    """The whole answer."""
    choices = [_whole(choice) for choice in answer.choices]
    return _head("chat.completion", model) | {"choices": choices, "usage": usage_object(answer.usage)}


def _whole(choice: Choice) -> dict[str, Any]:
    message = {"role": "assistant", "content": choice.text or (None if choice.tool_calls else "")}
    return {
        "index": choice.index,
        "message": message | _more(choice, [call.to_dict() for call in choice.tool_calls]),
        "logprobs": _logprobs(choice),
        "finish_reason": choice.finish_reason,
    }


def _more(choice: Choice, calls: list[dict[str, Any]]) -> dict[str, Any]:
    reasoning = {"reasoning_content": choice.reasoning} if choice.reasoning else {}
    return reasoning | ({"tool_calls": calls} if calls else {})


def _logprobs(choice: Choice) -> dict[str, Any] | None:
    return None if choice.logprobs is None else {"content": choice.logprobs, "refusal": None}


@dataclass(slots=True)
class EventWriter:
    """A stream's server-sent events, all with one id."""

    model: str
    include_usage: bool = False
    _base: dict[str, Any] = field(init=False)
    _begun: set[int] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self._base = _head("chat.completion.chunk", self.model)
        if self.include_usage:
            self._base["usage"] = None

    def part(self, part: Choice) -> bytes:
        """A part of an answer, and its end where this is the last."""
        delta = self._delta(part)
        found = self._event(part, delta, None) if delta else b""
        return found + (self._event(part, {}, part.finish_reason) if part.finish_reason else b"")

    def end(self, usage: Usage | None) -> bytes:
        """The end of the stream, with the counts where they were asked for."""
        counts = self._base | {"choices": [], "usage": usage_object(usage)}
        return (event(counts) if self.include_usage else b"") + DONE

    def _delta(self, part: Choice) -> dict[str, Any]:
        calls = [{"index": at} | call.to_dict() for at, call in enumerate(part.tool_calls)]
        delta = ({"content": part.text} if part.text else {}) | _more(part, calls)
        if part.index in self._begun:
            return delta
        self._begun.add(part.index)
        return {"role": "assistant", "content": ""} | delta

    def _event(self, part: Choice, delta: dict[str, Any], reason: str | None) -> bytes:
        logprobs = None if reason else _logprobs(part)
        choice = {"index": part.index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return event(self._base | {"choices": [choice]})


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + dump(data) + b"\n\n"


def dump(data: Any) -> bytes:
    """JSON on one line, with every script as it is."""
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def usage_object(usage: Usage | None) -> dict[str, int] | None:
    """Counts of tokens in OpenAI's form."""
    return None if usage is None else {name: getattr(usage, name) for name in Usage.__slots__}
