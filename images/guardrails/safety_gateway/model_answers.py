"""What a model's server says: whole answers, the events of a stream, and refusals."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

from safety_gateway.answers import FINISH_REASONS, Answer, Choice, LogProbs, Usage
from safety_gateway.errors import BadRequestError, GatewayError, UnavailableError
from safety_gateway.reasoning import without_reasoning
from safety_gateway.tools import ToolCall, good_id, read_call

REFUSED = frozenset({400, 413, 422})
"""Statuses by which a server means the client's own request; by all others it means the gateway's."""
MAX_WORDS = 500
"""Characters of a server's own words in an error."""
MAX_RETRY_SECONDS = 3600
"""Longest time that a client is told to wait."""
MAX_CALLS = 128
"""Calls of tools in one answer."""
MAX_ARGUMENTS = 1_048_576
"""Characters of all arguments in one answer."""
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Delta:
    """A part of one choice, as a stream's event has it."""

    index: int = 0
    text: str = ""
    reasoning: str = ""
    calls: tuple[dict[str, Any], ...] = ()
    """Parts of calls, in OpenAI's form."""
    logprobs: LogProbs | None = None
    finish_reason: str | None = None


def read_answer(
    data: bytes, choices: int, *, show_reasoning: bool = False, opens_reasoning: bool = False
) -> Answer:
    """The answer in a body. Raises UnavailableError if it is none with that many choices.

    ``opens_reasoning``: whether its text begins within reasoning.
    """
    try:
        body = json.loads(data)
        found = tuple(
            _read_choice(item, at, show_reasoning=show_reasoning, opened=opens_reasoning)
            for at, item in enumerate(body["choices"])
        )
        usage = read_usage(body.get("usage"))
    except _UNREADABLE as error:
        raise unreadable() from error
    if len(found) != choices:
        raise unreadable()
    return Answer(found, usage)


def _read_choice(item: dict[str, Any], index: int, *, show_reasoning: bool, opened: bool) -> Choice:
    message = item["message"]
    calls = message.get("tool_calls") or ()
    text, reasoning = _text(message.get("content") if calls else message["content"]), _reasoning(message)
    shown = text if show_reasoning else without_reasoning(text, opened=opened)
    if len(calls) > MAX_CALLS:
        raise ValueError("too many calls")
    # A server gives those of all its tokens: of reasoning set apart, of calls and what stands by them.
    as_shown = shown == text and not calls and (show_reasoning or not reasoning)
    return Choice(
        shown,
        read_reason(item.get("finish_reason")) or "stop",
        index,
        reasoning if show_reasoning else "",
        tuple(replace(call, id=good_id(call.id)) for call in map(read_call, calls)),
        read_logprobs(item.get("logprobs")) if as_shown else None,
    )


def as_chat(data: bytes) -> bytes:
    """What ``/v1/completions`` says, whole or in parts, in chat's form; what is none is left as it is."""
    try:
        body = json.loads(data)
        for choice in body.get("choices") or ():
            text = {"content": choice.get("text")}
            choice.update(message=text, delta=text, logprobs=None)
    except _UNREADABLE:
        return data
    return json.dumps(body).encode()


def read_event(data: bytes) -> list[Delta | Usage]:
    """What one event of a stream says. Raises UnavailableError if it is an error, or cannot be read."""
    try:
        body = json.loads(data)
        found: list[Delta | Usage] = [_read_delta(item) for item in body.get("choices") or ()]
        if body.get("error") is not None:
            raise UnavailableError("the model broke its answer off", code="model_unavailable")
        usage = read_usage(body.get("usage"))
    except _UNREADABLE as error:
        raise unreadable() from error
    return [*found, usage] if usage else found


def _read_delta(item: dict[str, Any]) -> Delta:
    delta, index = item.get("delta") or {}, item.get("index", 0)
    if type(index) is not int:
        raise TypeError("no index")
    return Delta(
        index,
        _text(delta.get("content")),
        _reasoning(delta),
        tuple(delta.get("tool_calls") or ()),
        read_logprobs(item.get("logprobs")),
        read_reason(item.get("finish_reason")),
    )


@dataclass(slots=True)
class CallParts:
    """Puts calls together whose arguments come in parts."""

    _parts: dict[int, dict[str, Any]] = field(default_factory=dict)
    _size: int = 0

    def add(self, parts: tuple[dict[str, Any], ...]) -> None:
        """Take in what one event has. Raises UnavailableError if it makes no sense."""
        try:
            for part in parts:
                self._add(part)
        except _UNREADABLE as error:
            raise unreadable() from error

    def _add(self, part: dict[str, Any]) -> None:
        index, given = int(part["index"]), part.get("function") or {}
        call = self._parts.setdefault(index, {"id": "", "function": {"name": "", "arguments": []}})
        call["id"] = call["id"] or part.get("id") or ""
        function = call["function"]
        function["name"] = function["name"] or given.get("name") or ""
        function["arguments"].append(_text(given.get("arguments")))
        self._size += len(function["arguments"][-1])
        if len(self._parts) > MAX_CALLS or self._size > MAX_ARGUMENTS:
            raise ValueError("too much")

    def calls(self) -> tuple[ToolCall, ...]:
        """The calls, whole."""
        try:
            return tuple(
                ToolCall(
                    good_id(call["id"]), call["function"]["name"], "".join(call["function"]["arguments"])
                )
                for _, call in sorted(self._parts.items())
            )
        except _UNREADABLE as error:
            raise unreadable() from error


def _text(value: Any) -> str:
    if not isinstance(value, str | None):
        raise TypeError("no text")
    return value or ""


def _reasoning(message: dict[str, Any]) -> str:
    """What a server's reasoning parser took out: vLLM says ``reasoning``, earlier ``reasoning_content``."""
    return _text(message.get("reasoning") or message.get("reasoning_content"))


def read_reason(value: Any) -> str | None:
    """Why an answer ended; a reason that nobody knows is an end."""
    return None if value is None else value if value in FINISH_REASONS else "stop"


def read_logprobs(value: Any) -> LogProbs | None:
    """One entry for each token, where a server gave them."""
    content = value.get("content") if isinstance(value, dict) else None
    return content if isinstance(content, list) and all(isinstance(item, dict) for item in content) else None


def read_usage(value: Any) -> Usage | None:
    """Counts of tokens, where a server gave them."""
    if not isinstance(value, dict):
        return None
    prompt, answer = value.get("prompt_tokens"), value.get("completion_tokens")
    if type(prompt) is not int or type(answer) is not int or min(prompt, answer) < 0:
        return None
    return Usage(prompt, answer, prompt + answer)


def unreadable() -> UnavailableError:
    """The error of an answer that is none."""
    return UnavailableError("the model's answer cannot be read", code="model_unavailable")


def refusal(status: int, data: bytes, retry_after: str | None) -> GatewayError:
    """What a client is told of a server's refusal: its words where they are about the client's request."""
    if status in REFUSED:
        words = f"the model's server refuses the request: {read_words(data)}"
        return BadRequestError(words, code="model_refused")
    return UnavailableError(
        "the model does not answer", code="model_unavailable", retry_after=read_seconds(retry_after)
    )


def read_words(data: bytes) -> str:
    """What a server says about a request, cut to a bound."""
    try:
        body = json.loads(data)
        error = body.get("error", body)
        words = error.get("message") if isinstance(error, dict) else error
    except (ValueError, AttributeError, RecursionError):
        words = None
    return words[:MAX_WORDS] if isinstance(words, str) and words else "no reason given"


def read_seconds(text: str | None) -> float | None:
    """A Retry-After header in seconds, up to a bound; a date counts as none."""
    return min(float(text), MAX_RETRY_SECONDS) if text is not None and text.isdecimal() else None
