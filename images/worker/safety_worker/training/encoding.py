"""Conversations as the rows that TRL trains on, by the model's own chat template."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import TemplateError

from safety_worker.errors import InputError
from safety_worker.models.rendering import MarkedText, render_marked
from safety_worker.models.row_text import Messages, UnlearnableError
from safety_worker.models.row_tokens import RowEncoder, RowTokens
from safety_worker.training.data import IGNORED, Learnt, Message, has_generation_marks, read_messages

REMEDY = "set model.chatTemplate to one that asks as it renders answers"


class EncodedFile(NamedTuple):
    """Rows of a file, or of a folder of them."""

    name: str
    conversations: list[list[Message]]
    rows: tuple[RowTokens, ...]
    """Of the conversations, in the same order."""


class EncodedRows(NamedTuple):
    """All rows of a training."""

    files: tuple[EncodedFile, ...]
    marked: bool
    """Whether all that the chat template marks as the assistant's is learnt, not the last answer alone."""
    warnings: tuple[str, ...]


def read_rows(tokenizer: Any, files: Sequence[Path]) -> EncodedRows:
    """Read and encode what is trained on and validated with, the same for every backend.

    Raises
    ------
    InputError
        If the model has no chat template, or one that asks otherwise than it teaches, or the rows are wrong.
    """
    if not tokenizer.chat_template:
        raise InputError("NoChatTemplate", "the model has no chat template: use an instruction-tuned model")
    warnings: list[str] = []
    talks = [read_messages(file, warnings) for file in files]
    encoded = tuple(
        EncodedFile(file.name, talk, encode_conversations(tokenizer, talk, file.name))
        for file, talk in zip(files, talks, strict=True)
    )
    for file in encoded:
        warnings += warn_of_closed_reasoning(file.rows, file.name)
    # Marks are of whole conversations; rows that are none are masked behind the prompt.
    whole = all(row.whole for file in encoded for row in file.rows)
    return EncodedRows(encoded, whole and has_generation_marks(str(tokenizer.chat_template)), tuple(warnings))


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
        raise _refused(error, where) from error
    except UnlearnableError as error:
        raise InputError("ChatTemplateMismatch", f"{where}: {error}: {REMEDY}") from error


def _refused(error: TemplateError, where: str) -> InputError:
    return InputError(
        "TemplateRefusesRow", f"{where}: the model's chat template refuses it: {str(error)[:200]}"
    )


def read_marks(tokenizer: Any, messages: Messages, where: str) -> MarkedText:
    """A conversation with what its chat template marks of it.

    Raises
    ------
    InputError
        If the template refuses it, or marks nothing.
    """
    try:
        found = render_marked(tokenizer, messages)
    except TemplateError as error:
        raise _refused(error, where) from error
    if not found.marks:
        raise InputError(
            "ChatTemplateMismatch",
            f"{where}: the chat template marks nothing of it as the assistant's (generation): set "
            "model.chatTemplate to one that does, or that has no such marks",
        )
    return found


def learn_marked(tokenizer: Any, file: EncodedFile) -> list[Learnt]:
    """Tokens of a file's conversations, of which those are learnt that the chat template marks.

    As transformers' ``return_assistant_tokens_mask`` has them; the tokenizer must be a fast one.
    """
    return [
        _learn(tokenizer, read_marks(tokenizer, talk, f"{file.name}, row {number}"))
        for number, talk in enumerate(file.conversations, 1)
    ]


def _learn(tokenizer: Any, row: MarkedText) -> Learnt:
    found = tokenizer(row.text, add_special_tokens=False)
    ids = list(found["input_ids"])
    labels = [IGNORED] * len(ids)
    for start, end in row.marks:
        first, last = found.char_to_token(start), found.char_to_token(end - 1)
        places = slice(first, None if last is None else last + 1)
        labels[places] = ids[places] if first is not None else labels[places]
    return Learnt(ids, labels)


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
