"""Answers of ``/v1/completions`` in OpenAI's form: whole, and as server-sent events."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from safety_gateway.answers import DONE, Answer, Choice, Usage, event, usage_object


def text_completion(answer: Answer, model: str) -> dict[str, Any]:
    """The whole answer."""
    choices = [_choice(choice, choice.finish_reason) for choice in answer.choices]
    return _head(model) | {"choices": choices, "usage": usage_object(answer.usage)}


@dataclass(slots=True)
class TextEventWriter:
    """A stream's server-sent events, all with one id."""

    model: str
    include_usage: bool = False
    _base: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._base = _head(self.model) | ({"usage": None} if self.include_usage else {})

    def part(self, part: Choice) -> bytes:
        """A part of an answer, with its end where this is the last."""
        if not part.text and part.finish_reason is None:
            return b""
        return event(self._base | {"choices": [_choice(part, part.finish_reason)]})

    def end(self, usage: Usage | None) -> bytes:
        """The end of the stream, with the counts where they were asked for."""
        counts = self._base | {"choices": [], "usage": usage_object(usage)}
        return (event(counts) if self.include_usage else b"") + DONE


def _choice(choice: Choice, reason: str | None) -> dict[str, Any]:
    return {"index": choice.index, "text": choice.text, "logprobs": None, "finish_reason": reason}


def _head(model: str) -> dict[str, Any]:
    created = int(time.time())
    return {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": created, "model": model}
