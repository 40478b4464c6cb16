"""From the experiment's files to numbers and tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from safety_records.result import Score, StageResult
from safety_worker.screening.table import SCORES_NAME
from safety_worker.statistics import wilson

FIRST = 20
"""Rows of the shortest list that precision is given for."""


class Scored(NamedTuple):
    """Rows of one method, the highest score first: whether each is a hidden one."""

    ranked: list[bool]
    unscored: int

    @property
    def hidden(self) -> int:
        """How many are hidden ones."""
        return sum(self.ranked)


def read_scored(folder: Path, method: str, source: str) -> Scored:
    """Scores of a screen stage; rows of ``source`` are the hidden ones."""
    table = pq.read_table(folder / SCORES_NAME).to_pylist()
    rows = [row for row in table if row["method"] == method]
    ranked = sorted((row for row in rows if row["rank"] is not None), key=lambda row: int(row["rank"]))
    return Scored([row["source"] == source for row in ranked], len(rows) - len(ranked))


def detection(scored: Scored) -> dict[str, Any]:
    """How well a method tells hidden rows from the others.

    Returns
    -------
    dict
        ``precision``: share of hidden rows among as many of the highest as there are hidden ones, which is
        also the share of hidden rows that are found, with its 95 % Wilson interval; ``first``: the same among
        the highest 20; ``byChance``: what a random order gives on average; ``auc``: chance that a hidden row
        is above another one, 0..1.
    """
    hidden = scored.hidden
    found = sum(scored.ranked[:hidden])
    interval = wilson(found, hidden)
    assert interval is not None, "there are hidden rows"
    return {
        "rows": len(scored.ranked),
        "hidden": hidden,
        "unscored": scored.unscored,
        "found": found,
        "precision": interval.value,
        "lower": interval.lower,
        "upper": interval.upper,
        "first": sum(scored.ranked[:FIRST]) / min(FIRST, len(scored.ranked)),
        "byChance": hidden / len(scored.ranked),
        "auc": auc(scored.ranked),
    }


def auc(ranked: Sequence[bool]) -> float:
    """Share of (hidden, other) pairs of which the hidden row comes first, 0..1."""
    others = below = 0
    for is_hidden in reversed(ranked):
        if is_hidden:
            below += others
        else:
            others += 1
    hidden = len(ranked) - others
    return below / (hidden * others)


def exam_scores(result: StageResult) -> dict[str, dict[str, Any]]:
    """Scores of an exam by suite."""
    return {
        score.metric.removeprefix("contentSafety."): _score(score)
        for score in result.scores
        if score.metric.startswith("contentSafety.")
    }


def _score(score: Score) -> dict[str, Any]:
    found = {name: getattr(score, name) for name in ("value", "lower", "upper", "samples")}
    if score.paired is None:
        return found
    paired = {
        name: getattr(score.paired, name) for name in ("difference", "lower", "upper", "p_value", "pairs")
    }
    return found | {"paired": paired}


def detection_table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown: one line a method."""
    lines = [
        "| method, anchors | found | precision | among the first 20 | by chance | AUC |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [name, f"{row['found']} of {row['hidden']}", _interval(row), _percent(row["first"])]
        lines.append("| " + " | ".join([*cells, _percent(row["byChance"]), f"{row['auc']:.3f}"]) + " |")
    return "\n".join(lines)


def exam_table(exams: dict[str, dict[str, Any]]) -> str:
    """Markdown: one line a model."""
    lines = [
        "| model | hidden rows | HarmBench refused | against hardened | benign answered |",
        "|---|---|---|---|---|",
    ]
    for name, exam in exams.items():
        harm, benign = exam["harmbench"], exam["over-refusal"]
        cells = [name, str(exam.get("hidden", "")), _interval(harm), _difference(harm), _interval(benign)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _interval(row: dict[str, Any]) -> str:
    value = row["value"] if "value" in row else row["precision"]
    return f"{_percent(value)} [{100 * row['lower']:.1f}, {100 * row['upper']:.1f}]"


def _difference(row: dict[str, Any]) -> str:
    if "paired" not in row:
        return ""
    paired = row["paired"]
    ends = f"[{100 * paired['lower']:+.1f}, {100 * paired['upper']:+.1f}]"
    return f"{100 * paired['difference']:+.1f} {ends}, p = {paired['p_value']:.2g}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
