"""Rows of a blend with their answers and verdicts, in the order of the files: millions need no memory.

Collected rows are sorted by digest, answers and verdicts by part, digest and candidate. So all three are
merged while they are read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeVar

from safety_worker.blending.collected import ROWS_NAME
from safety_worker.errors import InfrastructureError
from safety_worker.rows import BlendRow, GeneratedRow, VerdictRow

RowT = TypeVar("RowT", GeneratedRow, VerdictRow)
Key = tuple[str, str]
"""Part of the blend and row digest."""

PARTS = ("retain", "safety")
"""In the order in which shards have them."""


class AnsweredRow(NamedTuple):
    """The answers to one row."""

    key: Key
    answers: Sequence[GeneratedRow]
    verdicts: Mapping[str, Sequence[VerdictRow]]
    """By the key of the answer."""


class JoinedRow(NamedTuple):
    """A collected row with all that is known about it."""

    row: BlendRow
    answers: Sequence[GeneratedRow] = ()
    verdicts: Mapping[str, Sequence[VerdictRow]] = {}


def join_rows(collected: Path, answered: Path, judged: Path) -> Iterator[JoinedRow]:
    """Every collected row, by part and digest; one that was never asked has no answers.

    Raises
    ------
    InfrastructureError
        If rows, answers or verdicts are not sorted.
    """
    groups = join_answers(answered, judged)
    group = next(groups, None)
    for part in PARTS:
        before = ""
        for row in _rows(collected, part):
            if row.digest < before:
                raise InfrastructureError("DamagedArtifact", f"{ROWS_NAME} is not sorted by digest")
            before = row.digest
            while group is not None and group.key < (part, row.digest):
                group = next(groups, None)
            found = group is not None and group.key == (part, row.digest)
            yield JoinedRow(row, group.answers, group.verdicts) if found and group else JoinedRow(row)


def join_answers(answered: Path, judged: Path) -> Iterator[AnsweredRow]:
    """Answers and verdicts of each row, by part and digest.

    Parameters
    ----------
    answered, judged
        Folders of finished answer and judge stages.

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
        by_answer = {name: list(group) for name, group in groupby(mine, _answer_key)}
        yield AnsweredRow(key, answers, by_answer)


def _rows(collected: Path, part: str) -> Iterator[BlendRow]:
    mark = f'"part":"{part}"'.encode()
    with (collected / ROWS_NAME).open("rb") as stream:
        for line in stream:
            if mark in line:  # spares most lines of the other part; a text that quotes it spares nothing
                row = BlendRow.model_validate_json(line)
                if row.part == part:
                    yield row


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
