"""One choice of a stream: what the rails check at a time, and what may then be shown."""

from collections import deque
from dataclasses import replace

from safety_gateway.answers import Choice, LogProbs
from safety_gateway.model_answers import CallParts, Delta
from safety_gateway.reasoning import ReasoningFilter
from safety_gateway.settings import ModelServer, Streaming

CHARACTERS = 8
"""Of one token, at most: a server may send many tokens in one event."""


class ChoiceStream:
    """Gathers the parts of a choice into windows.

    A window is as many tokens as the settings say, and the whole calls of tools at the end. The rails read it
    behind some of the text before it, so that what is spread over two windows is seen together.
    """

    def __init__(self, index: int, settings: Streaming, server: ModelServer) -> None:
        self.index = index
        self.finish_reason: str | None = None
        self.shown = False
        """Whether the client has seen a part of it."""
        self._settings = settings
        self._show_reasoning = server.show_reasoning
        self._filter = None if server.show_reasoning else ReasoningFilter(opened=server.opens_reasoning)
        self._context: deque[str] = deque(maxlen=settings.context_tokens or 1)
        self._calls = CallParts()
        self._start()

    def _start(self) -> None:
        """Begin a window."""
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._logprobs: LogProbs | None = None
        self._tokens = 0

    def add(self, delta: Delta) -> Choice | None:
        """Take a part in; gives what may be shown before it is checked, where the settings say so."""
        self._calls.add(delta.calls)
        self.finish_reason = delta.finish_reason
        text, logprobs = self._visible(delta)
        reasoning = delta.reasoning if self._show_reasoning else ""
        if logprobs is not None:
            self._logprobs = [*(self._logprobs or []), *logprobs]
        if text:
            self._texts.append(text)
        if reasoning:
            self._reasoning.append(reasoning)
        self._tokens += _tokens(text) + _tokens(reasoning)
        if not self._settings.release_before_check or not (text or reasoning):
            return None
        self.shown = True
        return Choice(text, None, self.index, reasoning, (), logprobs)

    def _visible(self, delta: Delta) -> tuple[str, LogProbs | None]:
        """Text without reasoning; its log probabilities only where all of their tokens are shown."""
        logprobs = None if delta.calls else delta.logprobs
        if self._filter is None:
            return delta.text, logprobs
        all_before, text = self._filter.feed(delta.text)
        if all_before:
            self._start()
        if delta.finish_reason is not None:
            text += self._filter.end()
        hides = text != delta.text or delta.reasoning or self._filter.thinking
        return text, None if hides else logprobs

    @property
    def is_due(self) -> bool:
        """Whether the window is full, or the answer at its end."""
        return self._tokens >= self._settings.chunk_tokens or self.finish_reason is not None

    @property
    def window(self) -> Choice:
        """What is to be checked and then shown."""
        ended = self.finish_reason is not None
        return Choice(
            "".join(self._texts),
            self.finish_reason,
            self.index,
            "".join(self._reasoning),
            self._calls.calls() if ended else (),
            self._logprobs,
        )

    @property
    def context(self) -> str:
        """The text before the window, as far as the rails read it again."""
        return "".join(self._context) if self._settings.context_tokens else ""

    def release(self) -> Choice:
        """What may be shown now that the window is checked; begins the next."""
        window = self.window
        self._context.extend([*self._reasoning, *self._texts])
        self._start()
        if self._settings.release_before_check:
            window = replace(window, text="", reasoning="", logprobs=None)
        self.shown = self.shown or not window.is_empty
        return window


def _tokens(text: str) -> int:
    """Tokens of a part: one, or more where its length says so."""
    return -(-len(text) // CHARACTERS)
