"""What becomes of rows on their way through a blend, and where on the way."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safety_records.blend import BlendDrop, BlendStep, Part
from safety_worker.blending.dropped import read_dropped
from safety_worker.blending.wording import CLEANED
from safety_worker.rows import BlendRow
from safety_worker.screening.selecting import ScoreOf

KEPT = "kept"
"""Outcome of the rows in the output."""

LENGTH_REASON = "too-long"
"""Outcome of rows over the token limit."""

TEMPLATE_REASON = "untemplated"
"""Outcome of rows that the target's chat template refuses."""

STEPS: Mapping[str, tuple[str, ...]] = {
    "clean": CLEANED,
    "sample": ("not-sampled",),
    "answer": ("unanswered", "truncated"),
    "judge": ("unsafe", "unparsed"),
    "length": (TEMPLATE_REASON, LENGTH_REASON),
    "screen": ("screened", "unscored"),
}
"""Reasons for which a row is dropped, by the step that drops it, in the order of the steps."""

_STEP_OF = {reason: step for step, reasons in STEPS.items() for reason in reasons}


class RowOutcome(NamedTuple):
    """What became of a collected row."""

    row: BlendRow
    answer: str
    candidate: int | None
    reason: str
    """Empty if the row is kept."""
    tokens: int | None = None
    source: bool = False
    """The answer is the response that the row came with."""
    flagged: bool = False
    """Selected by screening."""
    place: ScoreOf | None = None
    """Score and rank, if the row was screened."""


def tally_dropped(collected: Path) -> Counter[tuple[str, str]]:
    """Rows that the collect stage dropped, by source and reason."""
    dropped = read_dropped(collected).group_by(["source", "reason"]).aggregate([("index", "count")])
    return Counter({(row["source"], row["reason"]): row["index_count"] for row in dropped.to_pylist()})


def build_steps(
    counts: Mapping[tuple[str, str], int], parts: Mapping[str, Part], skipped: frozenset[str] = frozenset()
) -> tuple[BlendStep, ...]:
    """How many rows are left after each step, and what it dropped.

    Parameters
    ----------
    counts
        Rows by source and outcome.
    parts
        Part of each source.
    skipped
        Steps that did not take place.
    """
    left: Counter[Part] = Counter()
    by_reason: Counter[tuple[Part, str]] = Counter()
    for (source, reason), rows in counts.items():
        left[parts[source]] += rows
        by_reason[parts[source], reason] += rows
    steps = [BlendStep(name="read", safety=left["safety"], retain=left["retain"])]
    for name, known in STEPS.items():
        if name in skipped:
            continue
        others = {r for _, r in by_reason if r != KEPT and r not in _STEP_OF} if name == "clean" else set()
        dropped = []
        for reason in (*known, *sorted(others)):
            of_part: dict[Part, int] = {part: by_reason[part, reason] for part in ("safety", "retain")}
            left.subtract(of_part)
            if any(of_part.values()):
                dropped.append(BlendDrop(reason=reason, rows=sum(of_part.values())))
        steps.append(
            BlendStep(name=name, safety=left["safety"], retain=left["retain"], dropped=tuple(dropped))
        )
    return tuple(steps)
