"""Which rows are taken out: those with the highest scores, or as many at random for comparison.

Called when a blend is assembled, so that another share or threshold costs no new scores. What has no score
cannot be called harmless and is selected as well, but counted apart.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from safety_records.screening import ScreenSelection
from safety_worker.errors import InputError
from safety_worker.rows import seeded_order
from safety_worker.screening.table import SCORES_NAME, key_of


class ScoreOf(NamedTuple):
    """A row's place."""

    score: float | None
    rank: int | None
    nearest: str


class Selected(NamedTuple):
    """Rows by key (part and digest)."""

    rows: frozenset[str]
    """Selected for their score, or at random."""
    unscored: frozenset[str]
    """Rows that were screened and have no score."""
    cut: float | None
    """Lowest selected score; None for a random selection or an empty one."""


def read_scores(folder: Path, method: str) -> dict[str, ScoreOf]:
    """Scores of one method by row key, unscored rows included.

    Raises
    ------
    InputError
        If the method was not among those that were scored.
    """
    columns = ["part", "digest", "score", "rank", "nearest"]
    found: dict[str, ScoreOf] = {}
    with pq.ParquetFile(folder / SCORES_NAME) as file:
        for batch in file.iter_batches(columns=["method", *columns]):
            for row in batch.filter(pc.field("method") == method).select(columns).to_pylist():
                found[key_of(row["part"], row["digest"])] = ScoreOf(row["score"], row["rank"], row["nearest"])
    if not found:
        raise InputError("NoScores", f"screening.method {method} has no scores in {SCORES_NAME}")
    return found


def select(scores: Mapping[str, ScoreOf], wanted: ScreenSelection) -> Selected:
    """Select rows.

    Parameters
    ----------
    scores
        By row key, unscored rows included.
    wanted
        How many, and which.
    """
    scored = {key: item.score for key, item in scores.items() if item.score is not None}
    unscored = frozenset(key for key, item in scores.items() if item.score is None)
    count = _count(scored, wanted)
    if wanted.select == "random":
        drawn = sorted(scored, key=lambda key: (seeded_order(wanted.seed, key), key))[:count]
        return Selected(frozenset(drawn), unscored, None)
    highest = sorted(scored, key=lambda key: (-scored[key], key))[:count]
    return Selected(frozenset(highest), unscored, scored[highest[-1]] if highest else None)


def _count(scored: Mapping[str, float], wanted: ScreenSelection) -> int:
    if wanted.threshold is not None:
        return sum(score >= wanted.threshold for score in scored.values())
    return math.floor((wanted.top_fraction or 0) * len(scored) + 0.5)
