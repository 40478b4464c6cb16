"""Conversations by a tokenizer's chat template, within limits: a template is a stranger's program.

All that transformers renders in the worker is rendered here: rows of training, screening and blends, and
prompts. The limits are those of :mod:`chat_template`, which renders without transformers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from jinja2 import TemplateError

from safety_worker.models.chat_template import RENDER_ERRORS, SECONDS, limited
from safety_worker.models.row_text import Messages

MAX_CHARACTERS = 16 * 1024**2
"""Longest text of a conversation; a million tokens have about 4 Mi."""


class CostlyTemplateError(TemplateError):
    """A template takes more time, memory or text than it may: every row would cost as much."""


class MarkedText(NamedTuple):
    """A conversation's text, and what of it the template marks as the assistant's."""

    text: str
    marks: list[tuple[int, int]]
    """First character of each mark, and the one behind it."""


def render_text(tokenizer: Any, messages: Messages, begin: bool) -> str:
    """A conversation's text, with the beginning of an answer if ``begin``.

    Raises
    ------
    CostlyTemplateError
        If the template takes more than :data:`SECONDS`, ``MEMORY_BYTES`` or :data:`MAX_CHARACTERS`.
    TemplateError
        If it refuses the conversation.
    """
    render: Callable[..., str] = tokenizer.apply_chat_template
    with _limits():
        return _bounded(render(list(messages), tokenize=False, add_generation_prompt=begin))


def render_marked(tokenizer: Any, messages: Messages) -> MarkedText:
    """A whole conversation by a template with ``{% generation %}``; raises as :func:`render_text`."""
    from transformers.utils.chat_template_utils import (  # noqa: PLC0415 - slow to import, and seldom needed
        render_jinja_template,
    )

    with _limits():
        texts, marks = render_jinja_template(
            [list(messages)],
            chat_template=tokenizer.get_chat_template(),
            return_assistant_tokens_mask=True,
            **tokenizer.special_tokens_map,
        )
        return MarkedText(_bounded(texts[0]), _within(marks[0], len(texts[0])))


@contextmanager
def _limits() -> Iterator[None]:
    try:
        with limited(SECONDS):
            yield
    except TimeoutError as error:
        raise CostlyTemplateError(str(error)) from error
    except MemoryError as error:
        raise CostlyTemplateError("it takes too much memory") from error
    except RENDER_ERRORS as error:
        if isinstance(error, TemplateError):
            raise
        raise TemplateError(str(error) or type(error).__name__) from error


def _bounded(text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise CostlyTemplateError(f"it makes {len(text)} characters of one conversation")
    return text


def _within(marks: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Marks in their order, without empty ones; marks within marks count once."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(marks):
        first = max(start, found[-1][1] if found else 0)
        if first < min(end, length):
            found.append((first, min(end, length)))
    return found
