"""The rows that are screened: those that would be trained on. Streamed, so that millions need no memory."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from safety_worker.blending.choosing import Rule, choose
from safety_worker.blending.joining import walk_answers
from safety_worker.rows import Message, Origin


class Candidate(NamedTuple):
    """A row with the answer that would be trained on."""

    part: str
    digest: str
    prompt: str
    answer: str
    origin: Origin
    context: tuple[Message, ...] = ()
    """System prompt and turns before the prompt: part of what is trained on."""


def stream_candidates(
    answered: Path,
    judged: Path,
    rule: Rule,
    parts: Sequence[str],
) -> Iterator[Candidate]:
    """Rows that the judges pass, in the order of their part and digest.

    Parameters
    ----------
    answered, judged
        Folders of finished answer and judge stages. Both are sorted by key, so they are merged as they are
        read.
    rule
        How an answer is chosen.
    parts
        Parts of the blend that are wanted.

    Raises
    ------
    InfrastructureError
        If a folder is not sorted.
    """
    for (part, digest), answers, verdicts in walk_answers(answered, judged):
        choice = choose(answers, verdicts, rule) if part in parts else None
        if choice is not None and not choice.reason:
            first = answers[0]
            yield Candidate(part, digest, first.prompt, choice.answer, first.origin, first.context)


class WindowReader:
    """Reads any run of ``size`` rows of a stream, forward without starting again.

    Parameters
    ----------
    start
        Opens the stream from its beginning.
    size
        Rows of a window.
    """

    def __init__(self, start: Callable[[], Iterator[Candidate]], size: int) -> None:
        self._start = start
        self._size = size
        self._rows = start()
        self._next = 0

    def read(self, number: int) -> list[Candidate]:
        """The rows of window ``number``, from 0; empty past the end."""
        if number < self._next:
            self._rows, self._next = self._start(), 0
        skipped = (number - self._next) * self._size
        next(islice(self._rows, skipped, skipped), None)
        self._next = number + 1
        return list(islice(self._rows, self._size))
