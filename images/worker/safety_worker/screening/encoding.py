"""Rows as tokens, and tokens as batches. Knows the tokenizer's interface, but no torch."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from jinja2 import TemplateError

from safety_worker.errors import InputError
from safety_worker.models.rendering import CostlyTemplateError, render_text
from safety_worker.models.row_text import RowText, RowWriter, UnlearnableError
from safety_worker.screening.anchors import Anchor
from safety_worker.screening.candidates import Candidate

Turns = list[dict[str, str]]


class Encoded(NamedTuple):
    """A row as the model sees it in training."""

    ids: list[int]
    """By the chat template, with the tokens that end the answer; empty if the template refuses the row."""
    start: int
    """Position of the first response token; ``len(ids)`` if there is none."""


def encode_rows(
    tokenizer: Any, rows: Sequence[Anchor | Candidate], *, with_start: bool = True
) -> list[Encoded]:
    """Tokens of whole conversations, as in training.

    Parameters
    ----------
    tokenizer
        A fast tokenizer of transformers with a chat template.
    rows
        Their system prompt and earlier turns belong to them.
    with_start
        Whether the first response token is wanted; where not, ``start`` is 0.

    Raises
    ------
    InputError
        If the template takes more time, memory or text than it may.

    Notes
    -----
    A row is a server's prompt, and behind it what the model is to write (``models/row_text.py``).
    """
    writer = RowWriter(partial(render_text, tokenizer))
    texts = [_text(writer, row) for row in rows]
    ids = _tokenize(tokenizer, [text.prompt + text.completion for text in texts])
    if not with_start:
        return [Encoded(item, 0) for item in ids]
    heads = _tokenize(tokenizer, [text.prompt for text in texts])
    return [Encoded(item, common_prefix(head, item)) for head, item in zip(heads, ids, strict=True)]


def _text(writer: RowWriter, row: Anchor | Candidate) -> RowText:
    """A row's text; that of one which the template refuses (some take no system turn) is empty."""
    try:
        return writer.write(_turns(row))
    except CostlyTemplateError as error:
        raise costly_template(error) from error
    except (TemplateError, UnlearnableError):
        return RowText("", "")


def costly_template(error: CostlyTemplateError) -> InputError:
    """Every row would cost as much, so the first one ends the stage."""
    return InputError(
        "InvalidChatTemplate",
        f"screening: the chat template of the model cannot be used: {error}: set model.chatTemplate",
    )


def _turns(row: Anchor | Candidate) -> Turns:
    earlier = [{"role": turn.role, "content": turn.content} for turn in row.context]
    ends = [("user", row.prompt), ("assistant", row.answer)]
    return [*earlier, *({"role": role, "content": content} for role, content in ends)]


def _tokenize(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    if not texts:
        return []
    return [list(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def batches_by_length(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Put rows of like length together.

    Parameters
    ----------
    lengths
        Tokens of each row.
    budget
        Tokens of a batch, padding included. A longer row is a batch of its own.

    Returns
    -------
    list
        Positions of rows, batch by batch, longest first: what does not fit into memory shows at once.
    """
    batches: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda n: (-lengths[n], n)):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches
