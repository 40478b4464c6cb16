"""Training rows: read, checked, and split into prompt and completion so that only answers are learnt.

Where the chat template marks the assistant's turns (``{% generation %}``), all of them count; otherwise only
the last turn counts, behind the tokens that a server sends.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safety_worker.datasets.cells import CellError
from safety_worker.datasets.conversation import read_turns
from safety_worker.datasets.layouts import choose_data
from safety_worker.datasets.readers import read_file
from safety_worker.datasets.turns import plain_turn, turn_problem
from safety_worker.errors import InputError
from safety_worker.models.row_tokens import RowTokens
from safety_worker.transport.places import FolderPlace
from safety_worker.transport.uris import spellings

COLUMN = "messages"
"""Where a conversation is; others are not looked at."""

SHOWN_PROBLEMS = 3
"""Rows that a message names."""

SHOWN_COLUMNS = 10
"""Columns that a message names."""

IGNORED = -100
"""Label of a token that is not learnt."""

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")

Message = dict[str, str]


class Rows(NamedTuple):
    """Rows that can be learnt from."""

    rows: list[dict[str, Any]]
    """As TRL takes them: ``input_ids`` and ``labels``."""
    too_long: int
    """Rows left out, because their prompt alone fills the sequence: nothing of the answer would be seen."""
    cut: int = 0
    """Rows whose end is cut off."""


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


class Learnt(NamedTuple):
    """A row's tokens, and which of them are learnt."""

    ids: list[int]
    labels: list[int]
    """The tokens, or :data:`IGNORED`."""


def learn_last(row: RowTokens) -> Learnt:
    """What comes behind a server's prompt is learnt."""
    return Learnt(row.ids, [IGNORED] * row.start + row.ids[row.start :])


def arrange(
    encoded: Sequence[RowTokens],
    marked: Sequence[Learnt] | None = None,
    *,
    max_length: int,
    refuse_from: str | None = None,
) -> Rows:
    """Rows in the form that TRL takes.

    Parameters
    ----------
    encoded
        Rows, each with an assistant's turn at the end.
    marked
        What the chat template marks of them, in the same order; None: the last turn is learnt.
    max_length
        Tokens of a sequence; what is longer is cut at its end.
    refuse_from
        Name of the file whose long rows are refused; None: they are cut.

    Raises
    ------
    InputError
        If rows are longer than a sequence and that is refused.
    """
    if refuse_from is not None:
        refuse_long([len(row.ids) for row in encoded], max_length, refuse_from)
    learnt = map(learn_last, encoded) if marked is None else marked
    fitting = [found for row, found in zip(encoded, learnt, strict=True) if row.start < max_length]
    rows: list[dict[str, Any]] = [{"input_ids": row.ids, "labels": row.labels} for row in fitting]
    cut = sum(len(row.ids) > max_length for row in fitting)
    return Rows(rows, len(encoded) - len(fitting), cut)


def refuse_long(lengths: Sequence[int], max_length: int, where: str) -> None:
    """Refuse rows of a file that have more tokens than a sequence.

    Raises
    ------
    InputError
        Naming how many they are, the first and the longest.
    """
    long = [number for number, length in enumerate(lengths, 1) if length > max_length]
    if long:
        raise InputError(
            "RowsTooLong",
            f"{where}: {len(long)} of {len(lengths)} rows have more than batch.maxSequenceLength "
            f"{max_length} tokens (first: row {long[0]}; longest: {max(lengths)}): raise it, shorten rows, "
            "or set batch.longRows: cut",
        )
