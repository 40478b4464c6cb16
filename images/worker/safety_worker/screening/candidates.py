"""The rows that are screened: those that would be trained on. Streamed, so that millions need no memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from safety_worker.datasets.choosing import Rule, choose
from safety_worker.errors import InfrastructureError
from safety_worker.rows import GeneratedRow, Message, Origin, VerdictRow

RowT = TypeVar("RowT", GeneratedRow, VerdictRow)
Key = tuple[str, str]
"""Part of the blend and row digest."""


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
    verdicts = _grouped(_stream(judged, "verdicts", VerdictRow))
    of_key: tuple[Key, list[VerdictRow]] | None = next(verdicts, None)
    for key, answers in _grouped(_stream(answered, "rows", GeneratedRow)):
        while of_key is not None and of_key[0] < key:
            of_key = next(verdicts, None)
        mine = of_key[1] if of_key is not None and of_key[0] == key else []
        if key[0] not in parts:
            continue
        by_answer = {name: list(group) for name, group in groupby(mine, _answer_key)}
        choice = choose(answers, by_answer, rule)
        if not choice.reason:
            first = answers[0]
            yield Candidate(*key, first.prompt, choice.answer, first.origin, first.context)


def _answer_key(verdict: VerdictRow) -> str:
    return f"{verdict.suite}/{verdict.digest}/{verdict.candidate}"


def _stream(folder: Path, prefix: str, kind: type[RowT]) -> Iterator[RowT]:
    for path in sorted(folder.glob(f"{prefix}-[0-9]*.jsonl")):
        with path.open("rb") as stream:
            for line in stream:
                yield kind.model_validate_json(line)


def _grouped(rows: Iterable[RowT]) -> Iterator[tuple[Key, list[RowT]]]:
    before: Key | None = None
    for key, group in groupby(rows, _key_of):
        if before is not None and key <= before:
            raise InfrastructureError(
                "DamagedArtifact", f"shards are not sorted: {'/'.join(key)} follows {'/'.join(before)}"
            )
        before = key
        yield key, list(group)


def _key_of(row: GeneratedRow | VerdictRow) -> Key:
    return row.suite, row.digest


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
