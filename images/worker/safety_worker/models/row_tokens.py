"""Rows as tokens: a server's prompt, token by token, and behind it what is learnt.

Knows the interface of transformers' tokenizers, but no torch.
"""

from functools import partial
from typing import Any, NamedTuple

from safety_worker.models.rendering import render_text
from safety_worker.models.row_text import Messages, RowText, RowWriter, UnlearnableError


class RowTokens(NamedTuple):
    """A row as training sees it."""

    ids: list[int]
    start: int
    """Position of the first token that is learnt; those before are what a server sends."""
    closes: bool = False
    """Whether the answer closes, without any, reasoning that the prompt has opened."""
    whole: bool = True
    """Whether they are what the template makes of the whole conversation."""
    prompt: str = ""
    """The text of those before ``start``."""
    completion: str = ""
    """The text of what is learnt."""


class RowEncoder:
    """Makes tokens of conversations that end with the assistant's turn."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._writer = RowWriter(partial(render_text, tokenizer))

    def encode(self, messages: Messages) -> RowTokens:
        """The tokens of a row.

        Raises
        ------
        UnlearnableError
            If no row can be made of what a server asks.
        TemplateError
            If the template does not take the turns, or takes too much time or memory for them.
        """
        text = self._writer.write(messages)
        head, ids = self._ids(text.prompt), self._ids(text.prompt + text.completion)
        whole = text.whole and ids[: len(head)] == head
        if ids[: len(head)] != head:
            ids = self._apart(text, head, ids)
        return RowTokens(ids, len(head), text.closes, whole, text.prompt, text.completion)

    def _apart(self, text: RowText, head: list[int], ids: list[int]) -> list[int]:
        """Tokens of a row whose answer would merge with the prompt's last token, which no server lets happen.

        Some tokenizers put a space before the first word of every text; then the two parts are not the whole.
        """
        apart = head + self._ids(text.completion)
        if self._tokenizer.decode(apart) != self._tokenizer.decode(ids):
            raise UnlearnableError("the prompt's last token and the answer cannot be told apart")
        return apart

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
