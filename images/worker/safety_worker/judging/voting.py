"""Several judges on one suite: their verdicts on an answer become one."""

from collections.abc import Sequence
from typing import NamedTuple

from safety_records.judges import Agreement
from safety_worker.rows import VerdictRow


def votes_needed(agreement: Agreement, votes: int) -> int:
    """How many of so many votes an answer needs."""
    return {"all": votes, "majority": votes // 2 + 1, "any": 1}[agreement]


class CombinedVerdict(NamedTuple):
    """What the judges of a suite say together about one answer."""

    passed: bool
    unparsed: bool
    """Whether verdicts that could not be read decided it: they count against the answer."""
    detail: str


def combine_verdicts(
    names: Sequence[str], verdicts: Sequence[VerdictRow | None], agreement: Agreement
) -> CombinedVerdict:
    """What the judges of a suite say together.

    Parameters
    ----------
    names
        The judges.
    verdicts
        Theirs in the same order; None: there is none, which counts as unparsed.
    agreement
        How many of them an answer needs: all, more than half, any.
    """
    needed = votes_needed(agreement, len(verdicts))
    passing = sum(verdict is not None and verdict.passed for verdict in verdicts)
    unread = sum(verdict is None or verdict.unparsed for verdict in verdicts)
    passed = passing >= needed
    details = [verdict.detail if verdict is not None else "no verdict" for verdict in verdicts]
    detail = (
        details[0]
        if len(set(details)) == 1
        else "; ".join(f"{name}: {text}" for name, text in zip(names, details, strict=True))
    )
    return CombinedVerdict(passed, not passed and passing + unread >= needed, detail[:400])
