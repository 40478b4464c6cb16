"""From scored windows to ``scores.parquet`` and ``screening.json``. In memory: a few numbers per row.

Lines are read from and written to files window by window.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from safety_worker.artifacts.files import atomic_path
from safety_worker.rows import seeded_order
from safety_worker.screening.candidates import Candidate
from safety_worker.screening.records import ScoreLine

SCORES_NAME = "scores.parquet"
SUMMARY_NAME = "screening.json"

TOP_ROWS = 100
"""Rows that are shown and compared: the papers fine-tune on the 100 highest."""
BINS = 40
"""Bins of the histograms."""
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
SHOWN_CHARACTERS = 400
"""Of a prompt and of an answer in the list of top rows."""

SCHEMA = pa.schema(
    [
        ("method", pa.string()),
        ("part", pa.string()),
        ("digest", pa.string()),
        ("source", pa.string()),
        ("file", pa.string()),
        ("index", pa.int64()),
        ("score", pa.float64()),
        ("rank", pa.int64()),
        ("nearest", pa.string()),
        ("similarity", pa.float64()),
        ("tokens", pa.int64()),
        ("missing", pa.string()),
        ("list", pa.bool_()),
        ("maths", pa.bool_()),
    ]
)

Windows = Callable[[], Iterator[list[ScoreLine]]]
"""Opens the windows from the first on."""


class Ranking(NamedTuple):
    """All rows of one method."""

    keys: np.ndarray[Any, np.dtype[np.bytes_]]
    """(N,) part and digest of the rows that have a score."""
    scores: np.ndarray[Any, np.dtype[np.float64]]
    """(N,)"""
    order: np.ndarray[Any, np.dtype[np.int64]]
    """(N,) positions by falling score, equal ones by key: rank r is at ``order[r - 1]``."""
    is_list: np.ndarray[Any, np.dtype[np.bool_]]
    is_maths: np.ndarray[Any, np.dtype[np.bool_]]
    missing: Mapping[str, int]
    """Rows without a score, by reason."""

    def top(self, count: int) -> list[str]:
        """Keys of the rows with the highest scores."""
        return [key.decode() for key in self.keys[self.order[:count]].tolist()]


def key_of(part: str, digest: str) -> str:
    """Identity of a row within a blend."""
    return f"{part}/{digest}"


def rank_rows(windows: Windows, method: str) -> Ranking:
    """Rank the rows of a method: the highest score first, equal scores by key."""
    keys: list[Any] = [np.array([], dtype=np.bytes_)]
    numbers: list[Any] = [np.empty((0, 3))]
    missing: Counter[str] = Counter()
    for window in windows():  # window by window, because a million Python objects are larger than arrays
        lines = [line for line in window if line.method == method]
        missing.update(line.missing for line in lines if line.score is None)
        scored = [line for line in lines if line.score is not None]
        if scored:
            keys.append(np.array([key_of(line.part, line.digest).encode() for line in scored]))
            numbers.append(np.array([(line.score, line.list, line.maths) for line in scored], dtype=float))
    columns, names = np.concatenate(numbers), np.concatenate(keys)
    return Ranking(
        names,
        columns[:, 0],
        np.lexsort((names, -columns[:, 0])),
        columns[:, 1].astype(np.bool_),
        columns[:, 2].astype(np.bool_),
        dict(sorted(missing.items())),
    )


def write_scores(path: Path, windows: Windows, rankings: Mapping[str, Ranking]) -> int:
    """Write the table, a row group per window; give the number of its lines."""
    ranks = {method: _ranks(ranking) for method, ranking in rankings.items()}
    ahead = dict.fromkeys(rankings, 0)
    written = 0
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, SCHEMA) as writer:
        for window in windows():
            records = []
            for line in window:
                rank = None
                if line.score is not None:  # lines come in the order in which they were ranked
                    rank = int(ranks[line.method][ahead[line.method]])
                    ahead[line.method] += 1
                records.append(line.model_dump() | {"rank": rank})
            written += len(records)
            writer.write_table(pa.Table.from_pylist(records, schema=SCHEMA))
    return written


def _ranks(ranking: Ranking) -> np.ndarray[Any, np.dtype[np.int64]]:
    ranks = np.empty(len(ranking.order), dtype=np.int64)
    ranks[ranking.order] = np.arange(1, len(ranking.order) + 1)
    return ranks


def summarise_scores(
    rankings: Mapping[str, Ranking],
    lines: Callable[[str], Iterator[ScoreLine]],
    rows: Iterable[Candidate],
    seed: int,
) -> dict[str, Any]:
    """Everything a report shows, as JSON values.

    Parameters
    ----------
    rankings
        By method.
    lines
        Opens the lines of a method.
    rows
        All rows that were screened, for the texts of the top ones.
    seed
        Of the random rows that the top ones are compared with.
    """
    wanted = {key for ranking in rankings.values() for key in ranking.top(TOP_ROWS)}
    texts = {key: row for row in rows if (key := key_of(row.part, row.digest)) in wanted}
    return {
        "topRows": TOP_ROWS,
        "methods": [
            _describe(method, ranking, _top_rows(ranking, lines(method), texts), seed)
            for method, ranking in rankings.items()
        ],
        "overlaps": [
            _overlap(one, other, rankings[one], rankings[other]) for one, other in combinations(rankings, 2)
        ],
    }


def _describe(method: str, ranking: Ranking, top: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "method": method,
        "scored": len(ranking.scores),
        "missing": dict(ranking.missing),
        "top": top,
    }
    if not len(ranking.scores):
        return found
    counts, edges = np.histogram(ranking.scores, bins=BINS)
    count = min(TOP_ROWS, len(ranking.scores))
    return found | {
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        "quantiles": {
            str(share): value
            for share, value in zip(QUANTILES, np.quantile(ranking.scores, QUANTILES).tolist(), strict=True)
        },
        "shares": {
            "all": _shares(ranking, ranking.order),
            "top": _shares(ranking, ranking.order[:count]),
            "random": _shares(ranking, _random_positions(ranking, count, seed)),
        },
    }


def _random_positions(ranking: Ranking, count: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """As many rows as the top ones, drawn by seed and key alone."""
    names = (name.decode() for name in ranking.keys)
    drawn = heapq.nsmallest(count, ((seeded_order(seed, name), n) for n, name in enumerate(names)))
    return np.array([number for _, number in drawn], dtype=np.int64)


def _shares(ranking: Ranking, positions: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, Any]:
    """Shares of lists and mathematics among some rows, at least one."""
    return {
        "rows": len(positions),
        "list": float(ranking.is_list[positions].mean()),
        "maths": float(ranking.is_maths[positions].mean()),
    }


def _top_rows(
    ranking: Ranking, lines: Iterable[ScoreLine], texts: Mapping[str, Candidate]
) -> list[dict[str, Any]]:
    place = {key: number for number, key in enumerate(ranking.top(TOP_ROWS), start=1)}
    found = []
    for line in lines:
        key = key_of(line.part, line.digest)
        if line.score is None or key not in place:
            continue
        row = texts[key]
        found.append(
            line.model_dump(exclude={"method", "missing"})
            | {
                "rank": place[key],
                "prompt": row.prompt[:SHOWN_CHARACTERS],
                "answer": row.answer[:SHOWN_CHARACTERS],
            }
        )
    return sorted(found, key=lambda row: int(row["rank"]))


def _overlap(one: str, other: str, first: Ranking, second: Ranking) -> dict[str, Any]:
    """Rows that both methods put among their highest, and how many chance would."""
    count = min(TOP_ROWS, len(first.scores), len(second.scores))
    common = len(set(first.top(count)) & set(second.top(count)))
    either = max(len(first.scores), len(second.scores))
    return {
        "one": one,
        "other": other,
        "top": count,
        "common": common,
        "byChance": count * count / either if either else None,
    }
