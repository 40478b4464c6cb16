"""``kubectl safety compare A B``: two evaluations side by side, and how far they differ.

Where B names A as its baseline, the operator compared row by row, and that interval is shown. Otherwise the
interval of the difference comes from the two intervals (Zou and Donner, Statistics in Medicine 27:1693,
2008), as though the runs had asked different rows: it is wider than a paired one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safety_cli.comparable import served_otherwise, what_differs
from safety_cli.kubectl import Kubectl, Resource
from safety_cli.resources import find_eval, label, state_of, verdict_of
from safety_cli.terminal import TableColumn, build_table, clean, natural_width, word
from safety_operator.state.reading import items_of, status_of, value_at

Scores = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of both."""

    metric: str
    first: str
    second: str
    difference: str = ""
    """B minus A with its interval; empty where there is none."""
    verdict: str = ""
    """better, worse, or why there is no difference to speak of."""


def show(console: Console, kubectl: Kubectl, first: str, second: str) -> int:
    """Print the comparison; 0."""
    a, b = find_eval(kubectl, first), find_eval(kubectl, second)
    _heading(console, a, b)
    rows = compare(a, b)
    if not rows:
        console.print("Neither has a score yet.")
        return 0
    console.print()
    console.print(build_comparison(rows, console.width))
    console.print()
    console.print(
        "Brackets: 95 % intervals. better, worse: the interval of the difference leaves 0 out."
        if any(row.difference for row in rows)
        else "There is no metric that both measured in the same way."
    )
    return 0


def build_comparison(rows: Sequence[Row], width: int) -> Table:
    """A line for each metric; without intervals where there is no room for them."""
    full = _columns(rows)
    return build_table(full if natural_width(full) <= width else _columns(rows, bare=True), width)


def _columns(rows: Sequence[Row], *, bare: bool = False) -> list[TableColumn]:
    def cell(text: str) -> Text:
        return word(text.partition(" [")[0].partition(":")[0] if bare else text, "")

    return [
        TableColumn("METRIC", [word(row.metric, "") for row in rows], shrink=True),
        TableColumn("A", [cell(row.first) for row in rows]),
        TableColumn("B", [cell(row.second) for row in rows]),
        TableColumn("B - A", [cell(row.difference) for row in rows], drop=1),
        TableColumn("", [word(row.verdict, _STYLES.get(row.verdict, "yellow")) for row in rows]),
    ]


_STYLES = {"better": "green", "worse": "red", "no clear difference": "dim"}


def _heading(console: Console, a: Resource, b: Resource) -> None:
    for letter, item in (("A", a), ("B", b)):
        target = status_of(item).get("target") or {}
        console.print(
            Text.assemble(
                (f"{letter}  {clean(label(item))}", "bold"),
                f": {verdict_of(item)}, {clean(state_of(item))}, model {clean(target.get('uri') or '?')} ",
                (clean(str(target.get("digest") or "")[:19]), "dim"),
            )
        )
    digests = [value_at(status_of(item), "target", "digest") for item in (a, b)]
    if digests[0] and digests[0] == digests[1]:
        console.print("Both are about the same model.")
    differences = served_otherwise(a, b)
    if differences:
        console.print(f"They were served otherwise, which changes answers: {differences}.")


def compare(a: Resource, b: Resource) -> list[Row]:
    """Every metric that one of the two has, in the order of B, then of A."""
    first, second = _scores(a), _scores(b)
    names = [*second, *(name for name in first if name not in second)]
    return [_row(name, first.get(name), second.get(name), a, b) for name in names]


def _scores(resource: Resource) -> dict[str, Mapping[str, Any]]:
    return {
        str(item["metric"]): item for item in items_of(status_of(resource).get("scores")) if "metric" in item
    }


def _row(
    metric: str, a: Mapping[str, Any] | None, b: Mapping[str, Any] | None, first: Resource, second: Resource
) -> Row:
    row = Row(metric, _value(a, first), _value(b, second))
    if a is None or b is None or not a.get("value") or not b.get("value"):
        return row
    reason = _reason(metric, a, b, first, second)
    if reason:
        return replace(row, verdict=reason)
    paired = b.get("paired") or {}
    if paired.get("baseline") == first["metadata"]["name"] and paired.get("lower") and paired.get("upper"):
        value, lower, upper = (float(paired[key]) for key in ("difference", "lower", "upper"))
        note = f", {paired.get('pairs', '?')} pairs"
    else:
        found = difference(a, b)
        if found is None:
            return replace(row, verdict="no interval")
        (value, lower, upper), note = found, ""
    text = f"{value:+.3f} [{lower:+.3f}, {upper:+.3f}{note}]"
    verdict = "better" if lower > 0 else "worse" if upper < 0 else "no clear difference"
    return replace(row, difference=text, verdict=verdict)


def _reason(
    metric: str, a: Mapping[str, Any], b: Mapping[str, Any], first: Resource, second: Resource
) -> str:
    """Why the two numbers must not be subtracted; empty where they may."""
    if a.get("judge") != b.get("judge"):
        return "other judges: not comparable"
    asked = value_at(second, "spec", "baselineRef", "name") == first["metadata"]["name"]
    if asked and b.get("unpaired"):
        return f"not comparable: {b['unpaired']}"
    differs = what_differs(first, second, metric)
    return f"other {differs}: not comparable" if differs else ""


def _value(score: Mapping[str, Any] | None, resource: Resource) -> str:
    if score is None:
        return "in the report" if status_of(resource).get("omittedScores") else "not measured"
    if not score.get("value"):
        return f"missing: {score.get('missing') or 'no reason given'}"
    value = _short(score["value"])
    if not score.get("lower") or not score.get("upper"):
        return value
    return f"{value} [{_short(score['lower'])}, {_short(score['upper'])}]"


def _short(decimal: str) -> str:
    return f"{float(decimal):.3f}"


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """B minus A and the limits of its 95 % interval, from the two intervals; None where one has none.

    Parameters
    ----------
    a, b
        Scores with ``value``, ``lower`` and ``upper`` as decimal strings, of runs that are independent.
    """
    try:
        (p, low_a, high_a), (q, low_b, high_b) = (
            tuple(float(score[key]) for key in ("value", "lower", "upper")) for score in (a, b)
        )
    except (KeyError, TypeError, ValueError):
        return None
    value = q - p
    lower = value - math.hypot(q - low_b, high_a - p)
    upper = value + math.hypot(high_b - q, p - low_a)
    return value, lower, upper
