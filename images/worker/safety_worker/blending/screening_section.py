"""The part of a blend's page that says what screening found, from ``screening.json``.

A page includes it through the macro ``screening_section`` of ``templates/screening.html.jinja``,
which takes what :func:`screening_view` gives; ``templates/screening.css`` goes with it. Texts of rows are
hostile: they are escaped by the template and stay closed until somebody asks for them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

WIDTH, HEIGHT, MARGIN = 640.0, 120.0, 4.0
"""Of a histogram, in its own units."""

OTHER_ROWS = 20
"""Rows that are listed for a method that decides nothing."""

METHODS = {
    "representation": "likeness of the last hidden state to harmful examples",
    "gradient": "likeness of the loss gradient to harmful examples, less that to safe ones",
    "larf": "likeness of the safety-sensitive layer's state to harmful examples, less that to safe ones",
}
"""What a score of each method is, in words."""

SETS = (("top", "highest scores"), ("random", "as many at random"), ("all", "all rows"))
"""Sets of rows whose shares of forms are compared."""


class HistogramBar(NamedTuple):
    """One bar of a histogram, in its units."""

    x: str
    y: str
    width: str
    height: str
    words: str
    """For people who do not see it."""
    taken: bool
    """Whether all its rows are at or above the cut."""


class MethodView(NamedTuple):
    """What is shown of one method."""

    name: str
    words: str
    scored: int
    missing: Sequence[tuple[str, int]]
    """Reasons why rows have no score, with their numbers."""
    bars: Sequence[HistogramBar]
    """Empty if no row has a score."""
    cut: str
    """Horizontal place of the cut; empty if there is none."""
    low: str
    middle: str
    high: str
    """Lowest, median and highest score."""
    shares: Sequence[tuple[str, Mapping[str, Any]]]
    """Words for a set of rows, and its shares."""
    rows: Sequence[Mapping[str, Any]]
    """The highest ones, by rank."""


class ScreeningView(NamedTuple):
    """Everything that the section shows."""

    methods: Sequence[MethodView]
    """The first decides."""
    overlaps: Sequence[Mapping[str, Any]]
    """How far two methods agree."""
    layer: int | None
    """The layer that larf found by itself."""


def screening_view(summary: Mapping[str, Any], decides: str, cut: float | None = None) -> ScreeningView:
    """What the section shows.

    Parameters
    ----------
    summary
        The content of ``screening.json``.
    decides
        The method whose scores decide.
    cut
        Lowest score that it takes, where rows are taken by score.
    """
    ordered = sorted(summary["methods"], key=lambda item: bool(item["method"] != decides))
    methods = [
        _method(item, cut if number == 0 else None, len(item["top"]) if number == 0 else OTHER_ROWS)
        for number, item in enumerate(ordered)
    ]
    layer = summary.get("layer")
    return ScreeningView(methods, summary["overlaps"], layer["layer"] if layer else None)


def _method(item: Mapping[str, Any], cut: float | None, rows: int) -> MethodView:
    missing = sorted(item["missing"].items())
    name, words = item["method"], METHODS.get(item["method"], "")
    if not item["scored"]:
        return MethodView(name, words, 0, missing, [], "", "", "", "", [], [])
    edges, counts = item["histogram"]["edges"], item["histogram"]["counts"]
    low, middle, high = (_number(item["quantiles"][share]) for share in ("0.0", "0.5", "1.0"))
    place = "" if cut is None or not edges[0] <= cut <= edges[-1] else f"{_x(cut, edges):.1f}"
    shares = [(text, item["shares"][key]) for key, text in SETS]
    bars = draw_bars(edges, counts, cut)
    return MethodView(
        name, words, item["scored"], missing, bars, place, low, middle, high, shares, item["top"][:rows]
    )


def draw_bars(edges: Sequence[float], counts: Sequence[int], cut: float | None) -> list[HistogramBar]:
    """Bars of a histogram; one that has rows is seen, however few they are.

    Parameters
    ----------
    edges
        One more than counts, rising.
    counts
        Rows of each bin, at least one of them above 0.
    cut
        Score from which rows are taken.
    """
    most = max(counts)
    found = []
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        if not count:
            continue
        height = max(1.0, HEIGHT * count / most)
        left, right = _x(low, edges), _x(high, edges)
        words = f"{_number(low)} to {_number(high)}: {count}"
        found.append(
            HistogramBar(
                f"{left:.1f}",
                f"{MARGIN + HEIGHT - height:.1f}",
                f"{max(0.5, right - left - 1):.1f}",
                f"{height:.1f}",
                words,
                cut is not None and low >= cut,
            )
        )
    return found


def _x(value: float, edges: Sequence[float]) -> float:
    width = edges[-1] - edges[0]
    return MARGIN + WIDTH * ((value - edges[0]) / width if width else 0.5)


def _number(value: float) -> str:
    """Three significant digits or so, with a real minus."""
    digits = 3 if not value or abs(value) < 1 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}".replace("-", "\u2212")
