"""What is counted and remembered of rows while they pass through the assemble stage: a few numbers each."""

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from safety_records.result import Counts
from safety_worker.blending.choosing import RowWithoutAnswer
from safety_worker.blending.outcomes import KEPT, RowOutcome
from safety_worker.blending.splitting import Member
from safety_worker.rows import BlendRow, seeded_order

SHOWN_REVIEW = 50
"""Rows without a safe answer in the document; the file beside it has all."""

SHOWN_EXAMPLES = 8
"""Rows of the output in the document."""


class Example(NamedTuple):
    """A row of the output that may be shown."""

    order: bytes
    """Examples with the lowest ones are shown."""
    row: BlendRow
    answer: str


class BlendStatistics:
    """Takes every collected row once.

    Parameters
    ----------
    seed
        Of the examples.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """Rows by source and outcome."""
        self.borrowed: Counter[str] = Counter()
        """Kept safety rows with the source's own response, by source."""
        self.asked: Counter[str] = Counter()
        """Safety rows by category."""
        self.kept: Counter[str] = Counter()
        """Those of them that are kept."""
        self.lengths = array("q")
        """Tokens of kept rows, where they were counted."""
        self.members: list[Member] = []
        """Kept rows."""
        self.review: list[RowWithoutAnswer] = []
        """The first rows that no answer was kept for."""
        self.review_total = 0
        self._examples: dict[str, list[Example]] = {"safety": [], "retain": []}

    def add(self, outcome: RowOutcome) -> None:
        """Count a row."""
        row = outcome.row
        self.outcomes[row.origin.source, outcome.reason or KEPT] += 1
        if row.part == "safety":
            names = [name[:120] for name in dict.fromkeys(row.categories)]
            self.asked.update(names)
            self.kept.update(() if outcome.reason else names)
        if outcome.reason:
            return
        self.members.append(Member(row.digest, row.group))
        if outcome.tokens is not None:
            self.lengths.append(outcome.tokens)
        if outcome.source and row.part == "safety":
            self.borrowed[row.origin.source] += 1
        shown = self._examples[row.part]
        shown.append(Example(seeded_order(self._seed, row.digest), row, outcome.answer))
        if len(shown) > 64 * SHOWN_EXAMPLES:
            self._examples[row.part] = sorted(shown)[:SHOWN_EXAMPLES]

    def add_rejected(self, item: RowWithoutAnswer) -> None:
        """Remember a row that no answer was kept for."""
        self.review_total += 1
        if len(self.review) < SHOWN_REVIEW:
            self.review.append(item)

    @property
    def examples(self) -> list[Example]:
        """Some kept rows, drawn by the seed; half of them of each part where both have enough."""
        parts = (sorted(self._examples[part])[: SHOWN_EXAMPLES // 2] for part in ("safety", "retain"))
        return [example for part in parts for example in part]

    def reasons(self) -> str:
        """Why rows were dropped, with their numbers."""
        counts: Counter[str] = Counter()
        for (_, reason), rows in self.outcomes.items():
            counts[reason] += rows
        return ", ".join(f"{rows} {reason}" for reason, rows in counts.most_common())


def count_kept(collected: Iterable[Counts], statistics: BlendStatistics) -> tuple[Counts, ...]:
    """The collect stage's counts, continued by what happened since."""
    seen = statistics.outcomes
    unanswered = ("unanswered", "truncated")
    return tuple(
        item.model_copy(
            update={
                "generated": item.sampled - sum(seen[item.source, reason] for reason in unanswered),
                "unsafe": seen[item.source, "unsafe"],
                "unparsed": seen[item.source, "unparsed"],
                "screened": seen[item.source, "screened"] + seen[item.source, "unscored"],
                "kept": seen[item.source, KEPT],
                "fallback": statistics.borrowed[item.source],
            }
        )
        for item in collected
    )
