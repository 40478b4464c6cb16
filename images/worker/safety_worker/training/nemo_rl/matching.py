"""Whether NeMo-RL learns rows as a server will ask: the prompt that it sends has to begin the row.

A chat template may write more behind a prompt (such as ``<think>``) than it writes before an answer. NeMo-RL
renders rows by the template alone, so the model would learn answers behind what no server ever sends. That
tokens merge across the two does not matter here: NeMo-RL tokenises prompt and answer apart.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from safety_worker.errors import InputError

Messages = Sequence[Mapping[str, str]]

MAX_OTHER_TEXT = 0.01
"""Share of rows whose text may begin otherwise than a server's prompt: above it the template is to blame."""


def require_match(tokenizer: Any, conversations: Sequence[Messages], where: str) -> tuple[str, ...]:
    """Compare all rows with what a server sends; gives a warning of a few that differ.

    Raises
    ------
    InputError
        If the template refuses a row, or so many rows differ that training would not show in answers.
    """
    other = [
        number
        for number, messages in enumerate(conversations, 1)
        if not _begins(tokenizer, messages, f"{where}, row {number}")
    ]
    if not other:
        return ()
    counted = f"{where}: {len(other)} of {len(conversations)} rows"
    if len(other) > MAX_OTHER_TEXT * len(conversations):
        raise InputError(
            "ChatTemplateMismatch",
            f"{counted} (first: row {other[0]}) do not begin with the prompt that a server sends by the "
            "model's chat template, as where its generation prompt opens <think>, and NeMo-RL learns what "
            "the template writes: use backend trl, rows with reasoning, or another template "
            "(model.chatTemplate)",
        )
    return (
        f"{counted} begin otherwise than a server's prompt by the model's chat template: they teach less",
    )


def _begins(tokenizer: Any, messages: Messages, where: str) -> bool:
    """Whether the prompt as a server sends it begins the row as it is learnt."""
    render: Callable[..., str] = tokenizer.apply_chat_template
    try:
        prompt = render(list(messages[:-1]), tokenize=False, add_generation_prompt=True)
        return render(list(messages), tokenize=False).startswith(prompt)
    except TemplateError as error:
        raise InputError(
            "TemplateRefusesRow", f"{where}: the model's chat template refuses it: {str(error)[:200]}"
        ) from error
