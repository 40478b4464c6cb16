"""Whether rows are learnt as a server will ask: the prompt that it sends has to begin the row that is learnt.

A chat template may write more behind a prompt (such as ``<think>``) than it writes before an answer. Then the
model learns answers behind what no server ever sends. Knows the tokenizer's interface, but no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jinja2 import TemplateError

from safety_worker.errors import InputError

Messages = Sequence[Mapping[str, str]]

MAX_OTHER_TEXT = 0.01
"""Share of rows whose text may begin otherwise than a server's prompt: above it the template is to blame."""

MAX_OTHER_TOKENS = 0.5
"""Share of rows that may begin with other tokens although their text begins alike: an answer that starts with
a line end merges with that before it, which is a matter of rows; most rows are a matter of the template."""


class Mismatch(NamedTuple):
    """Rows that do not begin as a server's prompt does."""

    rows: int
    """All rows that were looked at."""
    text: int = 0
    """Rows whose text begins otherwise."""
    tokens: int = 0
    """Rows whose text begins alike and whose tokens do not."""
    first: int = 0
    """The first row with another text, from 1."""


def require_match(tokenizer: Any, conversations: Sequence[Messages], where: str) -> tuple[str, ...]:
    """Compare all rows with what a server sends; gives warnings of a few that differ.

    Raises
    ------
    InputError
        If the template refuses a row, or so many rows differ that training would not show in answers.
    """
    found = find_mismatch(tokenizer, conversations, where)
    remedy = (
        "a server would ask otherwise than the rows were learnt. Use a chat template that writes the same in "
        "both, for example one that does not open reasoning behind the prompt, or rows with reasoning"
    )
    if found.text > MAX_OTHER_TEXT * found.rows:
        raise InputError(
            "ChatTemplateMismatch",
            f"{where}: by the model's chat template the prompt of {found.text} of {found.rows} rows (first: "
            f"row {found.first}) does not begin the whole row, as where its generation prompt opens <think>: "
            f"{remedy}",
        )
    if found.tokens > MAX_OTHER_TOKENS * found.rows:
        raise InputError(
            "ChatTemplateMismatch",
            f"{where}: with the model's chat template the prompt's last tokens merge with what follows in "
            f"{found.tokens} of {found.rows} rows: {remedy}",
        )
    return warnings_of(found, where)


def find_mismatch(tokenizer: Any, conversations: Sequence[Messages], where: str) -> Mismatch:
    """Count the rows that differ.

    Raises
    ------
    InputError
        If the template refuses a row.
    """
    text = tokens = first = 0
    for number, messages in enumerate(conversations, 1):
        prompt, whole = _rendered(tokenizer, messages, f"{where}, row {number}")
        if not whole.startswith(prompt):
            text, first = text + 1, first or number
        elif not _begins(tokenizer, prompt, whole):
            tokens += 1
    return Mismatch(len(conversations), text, tokens, first)


def _rendered(tokenizer: Any, messages: Messages, where: str) -> tuple[str, str]:
    """The prompt as a server sends it, and the row as it is learnt."""
    render: Callable[..., str] = tokenizer.apply_chat_template
    try:
        prompt = render(list(messages[:-1]), tokenize=False, add_generation_prompt=True)
        return prompt, render(list(messages), tokenize=False)
    except TemplateError as error:
        raise InputError(
            "TemplateRefusesRow", f"{where}: the model's chat template refuses it: {str(error)[:200]}"
        ) from error


def _begins(tokenizer: Any, prompt: str, whole: str) -> bool:
    head, ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, whole))
    return bool(ids[: len(head)] == head)


def warnings_of(found: Mismatch, where: str) -> tuple[str, ...]:
    """Warnings of the rows that differ."""
    merged = "begin with other tokens than a server's prompt, such as answers that start with a line end"
    counted = (
        (found.text, "begin otherwise than a server's prompt by the model's chat template"),
        (found.tokens, merged),
    )
    return tuple(
        f"{where}: {count} of {found.rows} rows {what}: they teach less" for count, what in counted if count
    )
