"""The rows that are screened: those that would be trained on. Streamed, so that millions need no memory."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

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
