"""Conversations as the rows that TRL trains on, by the model's own chat template."""

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from safety_worker.errors import InputError
from safety_worker.models.row_text import Messages, UnlearnableError
from safety_worker.models.row_tokens import RowEncoder, RowTokens

REMEDY = "set model.chatTemplate to one that asks as it renders answers"


def encode_conversations(
    tokenizer: Any, conversations: Sequence[Messages], where: str
) -> tuple[RowTokens, ...]:
    """Tokens of every conversation, prompts as a server sends them.

    Parameters
    ----------
    tokenizer
        A tokenizer of transformers with a chat template.
    conversations
        Each with an assistant's turn at the end.
    where
        The file, for messages.

    Raises
    ------
    InputError
        If the template refuses a row, or asks for something that no whole conversation holds.
    """
    encoder = RowEncoder(tokenizer)
    return tuple(
        _encode(encoder, row, f"{where}, row {number}") for number, row in enumerate(conversations, 1)
    )


def _encode(encoder: RowEncoder, messages: Messages, where: str) -> RowTokens:
    try:
        return encoder.encode(messages)
    except TemplateError as error:
        raise InputError(
            "TemplateRefusesRow", f"{where}: the model's chat template refuses it: {str(error)[:200]}"
        ) from error
    except UnlearnableError as error:
        raise InputError("ChatTemplateMismatch", f"{where}: {error}: {REMEDY}") from error


def warn_of_closed_reasoning(rows: Sequence[RowTokens], where: str) -> tuple[str, ...]:
    """That rows teach a model which is asked to reason to leave it."""
    count = sum(row.closes for row in rows)
    if not count:
        return ()
    warning = (
        f"{where}: {count} of {len(rows)} rows have no reasoning, and the chat template opens it behind "
        "every prompt: they teach the model to close it at once"
    )
    return (warning,)
