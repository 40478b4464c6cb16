"""Which answer of a row is kept: the first that the judges call safe. What nobody could read is not kept."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from safety_worker.rows import BlendRow, GeneratedRow, VerdictRow

_SENTENCE_END = re.compile(r"[.!?…。！？][\"')\]”’]*(?=\s|$)")  # noqa: RUF001 - sentence ends of other scripts


class Judged(NamedTuple):
    """A candidate and what was found about it."""

    candidate: int
    text: str
    """What would be trained on; empty if there is nothing."""
    reason: str
    """Why it is not kept: unanswered, truncated, unsafe, unparsed; empty if it may be."""


class Unkept(NamedTuple):
    """A row that no answer was kept for, with what was found about each candidate."""

    row: BlendRow
    found: Sequence[Judged]


class Choice(NamedTuple):
    """The fate of one row."""

    answer: str
    """Empty if the row is dropped."""
    candidate: int | None
    reason: str
    """Why the row is dropped: unanswered, truncated, unsafe, unparsed; empty if it is kept."""


def look_at(
    answers: Sequence[GeneratedRow],
    verdicts: Mapping[str, Sequence[VerdictRow]],
    judges: int,
    agreement: Literal["all", "any", "majority"],
) -> list[Judged]:
    """What the judges found about each candidate of a row, in the order of the candidates.

    Parameters
    ----------
    answers
        Candidates of one row.
    verdicts
        Verdicts by the key of the candidate.
    judges
        Number of judges that must have spoken about each candidate.
    agreement
        How many of them must call it safe.
    """
    found = []
    for answer in sorted(answers, key=lambda answer: answer.candidate):
        problem, text = usable_text(answer)
        reason = problem or _refusal_to_keep(verdicts.get(answer.key, ()), judges, agreement)
        found.append(Judged(answer.candidate, text, reason))
    return found


def choose(
    answers: Sequence[GeneratedRow],
    verdicts: Mapping[str, Sequence[VerdictRow]],
    judges: int,
    agreement: Literal["all", "any", "majority"],
) -> Choice:
    """The first candidate that enough judges passed; arguments are those of :func:`look_at`."""
    return pick(look_at(answers, verdicts, judges, agreement))


def pick(candidates: Sequence[Judged]) -> Choice:
    """The first candidate that may be kept; of none, the reason against the last one."""
    for item in candidates:
        if not item.reason:
            return Choice(item.text, item.candidate, "")
    return Choice("", None, candidates[-1].reason if candidates else "unanswered")


def usable_text(answer: GeneratedRow) -> tuple[str, str]:
    """Say why an answer cannot be used (empty if it can), and its text.

    One that hit the token limit is cut back to its last whole sentence: training on half sentences would
    teach the model to stop in the middle.
    """
    if answer.error:
        return "unanswered", ""
    if answer.truncated_reasoning:
        return "truncated", ""
    text = whole_sentences(answer.answer) if answer.truncated else answer.answer
    if not text.strip():
        return "truncated" if answer.truncated else "unanswered", ""
    return "", text.strip()


def whole_sentences(text: str) -> str:
    """The text up to its last sentence end; empty if it has none."""
    ends = list(_SENTENCE_END.finditer(text))
    return text[: ends[-1].end()] if ends else ""


def _refusal_to_keep(
    verdicts: Sequence[VerdictRow], judges: int, agreement: Literal["all", "any", "majority"]
) -> str:
    """Why an answer is not kept; empty if it is. Fails closed: silence and unreadable verdicts are a no."""
    if len(verdicts) < judges or any(verdict.unparsed for verdict in verdicts):
        return "unparsed"
    passed = sum(verdict.passed for verdict in verdicts)
    needed = {"all": judges, "any": 1, "majority": judges // 2 + 1}[agreement]
    return "" if passed >= needed else "unsafe"
