"""Rows as NeMo-RL sees them: their tokens, what of them is trained on, and what is too long.

NeMo-RL renders a conversation turn by turn and tokenises what each turn adds. A row of
``max_input_seq_length`` tokens or more is not cut there: it stays in its batch and gives no loss, silently.
So long rows are found here. They cannot be cut in the middle of an answer, because the template ends every
answer, and a model would learn to stop there: a conversation loses its last turns, and a row whose first
answer does not fit is left out. Knows the tokenizer's interface, but neither torch nor NeMo-RL.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jinja2 import TemplateError

from safety_worker.errors import InputError
from safety_worker.training.data import Message

ASKING = ("user", "tool")
"""Roles behind whose turns NeMo-RL writes the beginning of an answer."""


class Ends(NamedTuple):
    """Which tokens NeMo-RL adds at the ends of a row where the chat template has not written them."""

    bos: bool = False
    """Servers send what the template writes, so a row that begins otherwise would be learnt for nothing."""
    eos: bool = True


DEFAULT_ENDS = Ends()


class RowTokens(NamedTuple):
    """Tokens of a conversation."""

    turns: tuple[int, ...]
    """Of each turn."""
    trained: int
    """Of the assistant's turns."""
    as_whole: bool
    """Whether turn by turn the template gives the text that it gives for the whole conversation."""

    @property
    def total(self) -> int:
        """Of all turns."""
        return sum(self.turns)


class Kept(NamedTuple):
    """Rows that NeMo-RL trains on, and what became of the others."""

    rows: tuple[list[Message], ...]
    cut: int
    """Conversations that lost turns."""
    left_out: int
    """Rows whose first answer does not fit."""
    tokens: int
    trained: int
    """Tokens of the assistant."""
    longest: int
    """Tokens of the longest row that is kept."""
    differing: int
    """Rows whose text is another turn by turn than as a whole."""


def count_tokens(
    tokenizer: Any, messages: Sequence[Message], where: str, ends: Ends = DEFAULT_ENDS
) -> RowTokens:
    """Tokens as ``get_formatted_message_log`` of NeMo-RL 0.7.0 makes them.

    Raises
    ------
    InputError
        If the chat template refuses the beginning of the conversation.
    """
    before, turns = "", []
    for number, message in enumerate(messages):
        text = _render(tokenizer, messages[: number + 1], where)
        part = text[_common(before, text) :]
        if ends.bos and number == 0 and tokenizer.bos_token and not part.startswith(tokenizer.bos_token):
            part = tokenizer.bos_token + part
        if ends.eos and number == len(messages) - 1 and _lacks_end(tokenizer, part):
            part += tokenizer.eos_token
        turns.append((message["role"], part))
        before = text
    counts = [len(tokenizer(part, add_special_tokens=False)["input_ids"]) for _, part in turns]
    trained = sum(count for (role, _), count in zip(turns, counts, strict=True) if role == "assistant")
    whole = "".join(part for _, part in turns)
    return RowTokens(tuple(counts), trained, before in whole)


def _lacks_end(tokenizer: Any, part: str) -> bool:
    return bool(tokenizer.eos_token) and not part.rstrip("\n").endswith(tokenizer.eos_token)


def _render(tokenizer: Any, messages: Sequence[Message], where: str) -> str:
    render: Callable[..., str] = tokenizer.apply_chat_template
    try:
        return render(list(messages), tokenize=False, add_generation_prompt=messages[-1]["role"] in ASKING)
    except TemplateError as error:
        raise InputError(
            "TemplateRefusesRow",
            f"{where}: the model's chat template refuses its first {len(messages)} turns, which NeMo-RL "
            f"renders on their own: {str(error)[:200]}",
        ) from error


def _common(one: str, other: str) -> int:
    """Characters that two texts begin with alike."""
    if other.startswith(one):
        return len(one)
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def keep_rows(
    tokenizer: Any,
    conversations: Sequence[list[Message]],
    where: str,
    *,
    max_length: int,
    refuse: bool,
    ends: Ends = DEFAULT_ENDS,
) -> Kept:
    """The rows that are shorter than ``max_length`` tokens; longer ones are cut, or refused if so asked.

    Raises
    ------
    InputError
        If rows are too long and that is refused, or the template refuses a row.
    """
    kept: list[tuple[list[Message], RowTokens]] = []
    cut = left_out = 0
    for number, messages in enumerate(conversations, 1):
        fitting = _fit(tokenizer, messages, f"{where}, row {number}", max_length, ends)
        if fitting is None:
            left_out += 1
            continue
        cut += len(fitting[0]) < len(messages)
        kept.append(fitting)
    if refuse and cut + left_out:
        raise InputError(
            "RowsTooLong",
            f"{where}: {cut + left_out} of {len(conversations)} rows have batch.maxSequenceLength "
            f"{max_length} tokens or more: raise it, shorten them, or set batch.longRows to cut",
        )
    return Kept(
        rows=tuple(messages for messages, _ in kept),
        cut=cut,
        left_out=left_out,
        tokens=sum(found.total for _, found in kept),
        trained=sum(found.trained for _, found in kept),
        longest=max((found.total for _, found in kept), default=0),
        differing=sum(not found.as_whole for _, found in kept),
    )


def _fit(
    tokenizer: Any, messages: list[Message], where: str, max_length: int, ends: Ends
) -> tuple[list[Message], RowTokens] | None:
    """The longest beginning that ends with an answer and fits; None if there is none."""
    while messages:
        found = count_tokens(tokenizer, messages, where, ends)
        if found.total < max_length:
            return messages, found
        shorter = messages[:-1]
        while shorter and shorter[-1]["role"] != "assistant":
            shorter = shorter[:-1]
        messages = shorter
    return None
