"""Training rows: read, checked, and split into prompt and completion so that only answers are learnt.

Where the chat template marks the assistant's turns (``{% generation %}``), all of them count and TRL masks
by the marks; otherwise only the last turn counts. Tokenising itself is left to TRL.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safety_worker.datasets.cells import CellError
from safety_worker.datasets.conversation import read_turns
from safety_worker.datasets.layouts import choose_data
from safety_worker.datasets.readers import read_file
from safety_worker.datasets.turns import plain_turn, turn_problem
from safety_worker.errors import InputError
from safety_worker.transport.places import FolderPlace
from safety_worker.transport.uris import spellings

COLUMN = "messages"
"""Where a conversation is; others are not looked at."""

SHOWN_PROBLEMS = 3
"""Rows that a message names."""

SHOWN_COLUMNS = 10
"""Columns that a message names."""

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")

Message = dict[str, str]


class Rows(NamedTuple):
    """Rows that can be learnt from."""

    rows: list[dict[str, Any]]
    """As TRL takes them: ``messages``, or ``prompt`` and ``completion``."""
    too_long: int
    """Rows left out, because their prompt alone fills the sequence: nothing of the answer would be seen."""


def read_messages(path: Path, warnings: list[str]) -> list[list[Message]]:
    """Conversations of a file, or of a folder's data files, with a column ``messages``.

    Every row counts: one that cannot be learnt from is refused, not left out. ``warnings`` gets a sentence
    for what of a folder is left out, and why.

    Raises
    ------
    InputError
        Naming the file and the rows that are wrong, or what is wrong with the file.
    """
    path = next((there for there in map(Path, spellings(str(path))) if there.exists()), path)
    if not path.exists():
        raise InputError("NoTrainingData", f"{path.name} does not exist: check data.blendRef or data.uri")
    conversations: list[list[Message]] = []
    problems: list[str] = []
    for name, file in _files(path, warnings):
        for record in read_file(file, [COLUMN]):
            found = record.problem or read_row(record.value)
            if isinstance(found, str):
                place = f"line {record.line}" if record.line else f"row {record.index + 1}"
                problems.append(f"{name}, {place}: {found}")
            else:
                conversations.append(found)
    if problems:
        every = len(problems) + len(conversations)
        raise InputError(
            "InvalidTrainingData",
            f"{len(problems)} of {every} rows cannot be learnt from: {'; '.join(problems[:SHOWN_PROBLEMS])}",
        )
    return conversations


def _files(path: Path, warnings: list[str]) -> list[tuple[str, Path]]:
    """Names and paths of the data files; ``warnings`` as of :func:`read_messages`."""
    if path.is_file():
        return [(path.name, path)]
    place = FolderPlace(path)
    chosen = choose_data(path.name, place, {file.name: file for file in place.files()})
    warnings += [f"{path.name}: {text}" for text in chosen.left_out]
    return [(file.name, path / file.name) for file in chosen.files]


def read_row(value: Mapping[str, Any]) -> list[Message] | str:
    """The conversation of a record, or why it cannot be learnt from."""
    try:
        found = read_turns(value.get(COLUMN))
    except CellError as error:
        return f"{COLUMN} {error}"
    if not isinstance(found, list) or len(found) < 2:  # noqa: PLR2004 - a prompt and an answer
        return f"needs messages, at least two; it has {', '.join(sorted(value)[:SHOWN_COLUMNS]) or 'nothing'}"
    problem = next(filter(None, map(turn_problem, found)), "")
    if problem:
        return problem
    turns = [plain_turn(turn) for turn in found]
    return turns if turns[-1]["role"] == "assistant" else "the last message must be the assistant's"


def has_generation_marks(chat_template: str) -> bool:
    """Whether the template says which text is the assistant's."""
    return _GENERATION.search(chat_template) is not None


def arrange(
    conversations: list[list[Message]],
    *,
    marked: bool,
    count_prompt_tokens: Callable[[list[Message]], int],
    max_length: int,
) -> Rows:
    """Rows in the form that TRL masks by itself.

    Parameters
    ----------
    conversations
        Each with an assistant's turn at the end.
    marked
        Whether the chat template marks the assistant's turns.
    count_prompt_tokens
        Tokens of a conversation with the beginning of an answer.
    max_length
        Tokens of a sequence; what is longer is cut at its end.
    """
    fitting = [c for c in conversations if count_prompt_tokens(c[:-1]) < max_length]
    rows: list[dict[str, Any]] = (
        [{"messages": c} for c in fitting]
        if marked
        else [{"prompt": c[:-1], "completion": c[-1:]} for c in fitting]
    )
    return Rows(rows, len(conversations) - len(fitting))
