"""Conversations in data sets: a list of turns to what comes before the prompt, the prompt, and a response.

The list is a column of objects with ``role`` and ``content``, or the same as a text of JSON or Python. Other
fields of turns are left out, but calls of tools, which make the row malformed.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from safety_worker.datasets.categories import literal_of
from safety_worker.datasets.cells import MAX_CHARACTERS, CellError, plain_value
from safety_worker.datasets.turns import TOOL_KEYS, turn_text, turns_of
from safety_worker.rows import Message
from safety_worker.text import has_lone_surrogates

MAX_TURNS = 200
"""Longer conversations are malformed."""

MAX_LITERAL = 10 * MAX_CHARACTERS
"""Of a conversation that is written as a text, with its marks and escapes."""

_TURNS = TypeAdapter(list[Message])


class Conversation(NamedTuple):
    """A conversation taken apart."""

    context: tuple[Message, ...]
    """Everything before the prompt."""
    prompt: str
    """The last user turn."""
    response: str
    """The assistant's turn behind it, where there is one."""


def read_turns(value: object) -> object:
    """The list of turns in a cell, whether it is one or a text of one; anything else as it is.

    Raises
    ------
    CellError
        If its reader could not make sense of it.
    """
    found = literal_of(value, MAX_LITERAL) if isinstance(value, str) else plain_value(value)
    return turns_of(found)


def read_conversation(value: object) -> Conversation | str:
    """The conversation in a cell, or why there is none; never quotes its text."""
    try:
        turns = _TURNS.validate_python(_bare(read_turns(value)))
    except (ValidationError, CellError, RecursionError):
        return "the conversation is no list of role (system, user, assistant) and content, without tools"
    if len(turns) > MAX_TURNS or sum(len(turn.content) for turn in turns) > MAX_CHARACTERS:
        return f"the conversation has over {MAX_TURNS} turns or {MAX_CHARACTERS} characters"
    if any(has_lone_surrogates(turn.content) for turn in turns):
        return "the conversation holds lone surrogates, which are no text"
    response = turns.pop().content if turns and turns[-1].role == "assistant" else ""
    if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
        return "the conversation does not end with a user's turn"
    if any(turn.role == "system" for turn in turns[1:]):
        return "the conversation has a system turn that is not its first"
    return Conversation(tuple(turns[:-1]), turns[-1].content, response)


def _bare(turns: object) -> object:
    """Turns without what some data sets keep in them besides, such as a name; calls of tools stay."""
    if not isinstance(turns, list | tuple):
        return turns
    known = Message.model_fields
    return [
        {
            key: turn_text(turn[key]) if key == "content" else turn[key]
            for key in turn
            if key in known or (key in TOOL_KEYS and turn[key])
        }
        if isinstance(turn, dict)
        else turn
        for turn in turns
    ]


def with_system(context: Sequence[Message], system: str) -> tuple[Message, ...]:
    """The context behind a system prompt, unless it has one or there is none to add."""
    if not system.strip() or (context and context[0].role == "system"):
        return tuple(context)
    return (Message(role="system", content=system), *context)
