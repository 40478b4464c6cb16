"""Rows as NeMo-RL gets them: finished text in parts, some of them learnt.

Left alone, NeMo-RL renders conversations turn by turn through the chat template, which is not what a server
sends where a template opens reasoning behind the prompt. So rows are written here as for TRL, and the
template given to NeMo-RL only joins the parts (``JOINING``). It tokenises each part by
itself, learns those of the assistant, adds nothing, and wants one of them at the end. Longer rows would stay
in their batch without any loss, silently, so they are cut here as TRL cuts them. Knows the tokenizer's
interface, but neither torch nor NeMo-RL.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from safety_worker.models.row_tokens import RowTokens
from safety_worker.training.data import Message, refuse_long
from safety_worker.training.encoding import EncodedFile, read_marks

CUTS = 16
"""Places at which a text is tried to be cut: not everywhere does its beginning keep its tokens."""


class Part(NamedTuple):
    """Text of a row."""

    text: str
    tokens: int
    learnt: bool


class _Written(NamedTuple):
    parts: list[Part]
    """Up to the last that is learnt: nothing depends on what comes behind it."""
    differs: bool
    """Whether they are other tokens than the row as a whole."""


class Kept(NamedTuple):
    """Rows that NeMo-RL trains on, and what became of the others."""

    rows: tuple[list[Message], ...]
    """Parts as messages: the assistant's are learnt, the user's come before them."""
    cut: int
    """Rows whose end is cut off."""
    left_out: int
    """Rows of which nothing that is learnt fits."""
    tokens: int
    trained: int
    """Tokens that are learnt."""
    longest: int
    """Tokens of the longest row that is kept."""
    differing: int
    """Rows that are other tokens part by part than as a whole."""


def keep_rows(tokenizer: Any, file: EncodedFile, *, marked: bool, max_length: int, refuse: bool) -> Kept:
    """Rows of at most ``max_length`` tokens; longer ones are cut, or refused if so asked.

    Parameters
    ----------
    tokenizer
        The model's, with its chat template.
    file
        Rows as a server asks for them.
    marked
        Whether all that the chat template marks is learnt, not only the last answer.
    max_length
        Tokens of a sequence.
    refuse
        Whether longer rows are refused.

    Raises
    ------
    InputError
        If rows are too long and that is refused, or the template marks nothing of a row.
    """
    written = [
        _write(tokenizer, talk, row, f"{file.name}, row {number}", marked=marked)
        for number, (talk, row) in enumerate(zip(file.conversations, file.rows, strict=True), 1)
    ]
    if refuse:
        refuse_long([_count(row.parts) for row in written], max_length, file.name)
    fitting = [
        _fit(tokenizer, row.parts, max_length) if encoded.start < max_length else []
        for encoded, row in zip(file.rows, written, strict=True)
    ]
    kept = [parts for parts in fitting if parts]
    return Kept(
        rows=tuple([_message(part) for part in parts] for parts in kept),
        cut=sum(bool(parts) and parts != row.parts for parts, row in zip(fitting, written, strict=True)),
        left_out=len(fitting) - len(kept),
        tokens=sum(map(_count, kept)),
        trained=sum(part.tokens for parts in kept for part in parts if part.learnt),
        longest=max(map(_count, kept), default=0),
        differing=sum(row.differs for row in written),
    )


def _write(
    tokenizer: Any, messages: Sequence[Message], row: RowTokens, where: str, *, marked: bool
) -> _Written:
    texts = _marked(tokenizer, messages, where) if marked else [(row.prompt, False), (row.completion, True)]
    ids = [_ids(tokenizer, text) for text, _ in texts]
    parts = [Part(text, len(found), learnt) for (text, learnt), found in zip(texts, ids, strict=True) if text]
    apart = [token for found in ids for token in found]
    return _Written(parts, apart != row.ids[: len(apart)])


def _marked(tokenizer: Any, messages: Sequence[Message], where: str) -> list[tuple[str, bool]]:
    """A conversation's text by the template's marks, and whether each part is marked."""
    text, marks = read_marks(tokenizer, messages, where)
    parts, end = [], 0
    for start, stop in marks:
        parts += [(text[end:start], False), (text[start:stop], True)]
        end = stop
    return parts


def _fit(tokenizer: Any, parts: Sequence[Part], room: int) -> list[Part]:
    """The beginning of at most ``room`` tokens that ends with something learnt; empty if there is none."""
    fitting: list[Part] = []
    for part in parts:
        if part.tokens > room:
            fitting.append(_cut(tokenizer, part, room))
            break
        fitting.append(part)
        room -= part.tokens
    while fitting and not (fitting[-1].learnt and fitting[-1].tokens):
        fitting.pop()
    return fitting


def _cut(tokenizer: Any, part: Part, room: int) -> Part:
    """As much of a part as fits and is still the same tokens; an empty part if there is no such place."""
    ids = _ids(tokenizer, part.text)
    for size in range(room, max(room - CUTS, 0), -1):
        text = tokenizer.decode(ids[:size], clean_up_tokenization_spaces=False)
        if _ids(tokenizer, text) == ids[:size]:
            return Part(text, size, part.learnt)
    return Part("", 0, part.learnt)


def _message(part: Part) -> Message:
    return {"role": "assistant" if part.learnt else "user", "content": part.text}


def _count(parts: Sequence[Part]) -> int:
    return sum(part.tokens for part in parts)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
