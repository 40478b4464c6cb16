"""What a format is, and what all formats share.

A format turns a (prompt, answer) pair into a question for a judge model and reads the model's output. Both
sides hold hostile text: the pair comes from a data set and from the model under test, the output from a model
that has just read them. So control tokens in a pair are broken up before they are sent, outputs are read by
one reader (``reading.py``), and whatever is not clear is no verdict at all (None), never a lenient one.
"""

import re
from collections.abc import Sequence
from typing import Protocol

from safety_worker.judging.base import Pair
from safety_worker.rows import Message, Verdict

MAX_OUTPUT = 100_000
"""Characters of an output that are read: a judge that says more has lost its way."""

_CONTROL = re.compile(
    r"<(?=[|\uff5c]|/?(?:s|bos|eos|pad|unk|sep|cls|mask)>|(?:start|end)_of_[a-z]{1,20}>|turn\|>|/?seed:"
    r"|(?:BEGIN|END) (?:CONVERSATION|UNSAFE))"
    r"|\[(?=\||/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|THINK)\])",
    re.IGNORECASE,
)
"""Starts of what a tokenizer or a guard's instruction takes for structure."""

_SPEAKER = re.compile(
    r"^[ \t]*(?:(?:human )?user|(?:ai )?assistant|(?:response: )?agent)(?=:)", re.MULTILINE | re.IGNORECASE
)
"""How formats begin a turn. Guards judge the last one, which an answer must not be able to write."""


Question = str | tuple[Message, ...]
"""What to send: chat messages or, for the completions endpoint, a finished prompt. The prompt has no
beginning-of-sequence token: servers add it, and a second one changes verdicts."""


class Format(Protocol):
    """A published format."""

    max_tokens: int
    """New tokens of an output."""

    def ask(self, pair: Pair) -> Question:
        """The question about a pair."""

    def read(self, output: str) -> Verdict | None:
        """The verdict in an output; None if it holds none."""


def defused(text: str) -> str:
    """The text with control tokens and names of speakers broken up by a space, such as ``< |eot_id|>``.

    A server parses special tokens in a prompt, also inside chat messages. Without this an answer could close
    its own turn and write the judge's verdict itself, or a harmless last turn. Any other text is as it was.
    """
    return _SPEAKER.sub(r"\g<0> ", _CONTROL.sub(r"\g<0> ", text))


def chat(text: str) -> Question:
    """One user message."""
    return (Message(role="user", content=text),)


def turns_of(pair: Pair) -> list[tuple[str, str]]:
    """(role, text) of the whole conversation, the answer last; system prompts are left out.

    Guard models are trained on user and assistant turns only.
    """
    turns = [(message.role, message.content) for message in pair.context if message.role != "system"]
    turns += [("user", pair.prompt), ("assistant", pair.answer)]
    return [(role, defused(text)) for role, text in turns]


def conversation_prompt(pair: Pair) -> str:
    """The user's side for formats with one place for it: the prompt, behind its earlier turns if any."""
    turns = turns_of(pair)[:-1]
    if len(turns) == 1:
        return turns[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in turns)


def categories_detail(codes: Sequence[str], known: Sequence[str]) -> str:
    """The categories of a fixed vocabulary among ``codes``, in its order; an output's own words never."""
    wanted = {code.strip().casefold() for code in codes}
    return ", ".join(code for code in known if code.casefold() in wanted)[:200]
