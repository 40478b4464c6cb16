"""What templates need besides the report itself: its scores, grouped and set in relation to each other."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from safety_records.report import FrameworkEntry, Report, ReportProbe, ReportRails
from safety_records.result import Paired, Score, Share
from safety_worker.reporting.wording import SECTIONS, verdict_sentence


class Headline(NamedTuple):
    """The score that stands for a section."""

    title: str
    score: Score
    weakest: Score | None
    """The lowest of several parts."""
    parts: int = 0
    """Scores that it is the mean of; 0: it is one of the report's own."""


class Bearing(NamedTuple):
    """What a report says about an entry of a framework."""

    entry: FrameworkEntry
    measured: Sequence[Score]
    missing: int
    lowest: Score | None


def view(report: Report) -> dict[str, Any]:
    """What the templates need besides the report itself."""
    bounds = {
        item.metric: bound
        for item in report.thresholds
        if (bound := threshold_bound(item.wanted)) is not None
    }
    drifted = [item.paired for item in report.drift if item.paired is not None]
    paired = [score for score in report.scores if score.paired is not None]
    single = [score for score in report.scores if not is_probe(score)]
    return {
        "groups": [
            (title, [s for s in single if s.metric.partition(".")[0] == key]) for title, key in SECTIONS
        ],
        "headlines": [h for h in (headline(report.scores, *section) for section in SECTIONS) if h],
        "bounds": bounds,
        "by_metric": {score.metric: score for score in report.scores},
        "paired": paired,
        "reach": reach(ends(score.paired for score in paired if score.paired)),
        "drift_reach": reach(ends(drifted)),
        "calibrated": [judge for judge in report.judges if judge.calibration is not None],
        "sentence": verdict_sentence(report.verdict, report.thresholds),
        "expects": {f"contentSafety.{suite.name}": suite.expect for suite in report.suites},
        "bearings": [(item, [bearing(e, report.scores) for e in item.entries]) for item in report.frameworks],
        "failing": [group for group in report.hits if group.failed],
        "probe_state": probe_state,
        **(rails_view(report.rails) if report.rails else {}),
    }


class Compared(NamedTuple):
    """A difference with rails minus without."""

    metric: str
    paired: Paired


def rails_view(rails: ReportRails) -> dict[str, Any]:
    """What the section about rails shows: blocked shares, differences, and what could not be compared."""
    blocked: list[tuple[str, str, Share | None]] = [
        (suite.name, suite.expect, suite.blocked) for suite in rails.suites
    ]
    sums = (("safe", rails.effect.blocked_unsafe), ("answer", rails.effect.blocked_benign))
    for expect, share in sums:
        if sum(suite.expect == expect for suite in rails.suites) > 1:
            blocked.append(("all of these", expect, share))
    effect = rails.effect
    metrics = [("contentSafety", effect.gained, effect.gained_missing)]
    if sum(suite.expect == "answer" for suite in rails.suites) > 1:
        metrics.append(("mean of benign suites", effect.answered, effect.answered_missing))
    metrics += [(f"contentSafety.{suite.name}", suite.paired, suite.missing) for suite in rails.suites]
    differences = [Compared(metric, paired) for metric, paired, _ in metrics if paired is not None]
    return {
        "blocked": blocked,
        "rails_differences": differences,
        "rails_reach": reach(ends(item.paired for item in differences)),
        "rails_missing": [(metric, why) for metric, _, why in metrics if why],
    }


def is_probe(score: Score) -> bool:
    """Whether the score is of a single probe: those have a table of their own."""
    return score.metric.startswith("security.") and score.metric != "security.resilience"


def headline(scores: Sequence[Score], title: str, key: str) -> Headline | None:
    """The score that stands for a section; None where nothing was measured."""
    own = [score for score in scores if score.metric.partition(".")[0] == key]
    if not own:
        return None
    if key == "accuracy" and len(own) > 1:
        return Headline(title, mean_score(key, own), lowest(own), parts=len(own))
    parts = [score for score in own[1:] if score.value is not None]
    return Headline(title, own[0], lowest(parts) if len(parts) > 1 else None)


def lowest(scores: Sequence[Score]) -> Score | None:
    """The lowest score that has a value; None if none has."""
    return min((s for s in scores if s.value is not None), key=lambda s: s.value or 0.0, default=None)


def mean_score(metric: str, scores: Sequence[Score]) -> Score:
    """The unweighted mean of scores of different things, which has no interval; missing if any of them is."""
    values = [score.value for score in scores if score.value is not None]
    samples = sum(score.samples for score in scores)
    if len(values) < len(scores):
        return Score(
            metric=metric, samples=samples, missing=f"{len(scores) - len(values)} of them have no value"
        )
    return Score(metric=metric, value=sum(values) / len(values), samples=samples)


def bearing(entry: FrameworkEntry, scores: Sequence[Score]) -> Bearing:
    """The scores behind an entry of a framework."""
    own = [score for score in scores if score.metric in entry.metrics]
    measured = [score for score in own if score.value is not None]
    return Bearing(entry, measured, len(own) - len(measured), lowest(measured))


def probe_state(probe: ReportProbe) -> str:
    """``missing``, ``hit`` or ``withstood``."""
    if probe.missing:
        return "missing"
    return "withstood" if probe.passed == probe.total else "hit"


def threshold_bound(wanted: str) -> float | None:
    """The number in a threshold such as ``lower end >= 0.90``, for the plot; None if it has none in 0..1.

    A largest drop, ``difference >= -0.02``, bounds no score: its number is negative.
    """
    found = re.search(r"(?<![\d.-])(?:0(?:\.\d+)?|1(?:\.0+)?)(?![\d.])", wanted)
    return float(found.group()) if found else None


def ends(differences: Iterable[Paired]) -> list[float]:
    """Both ends of all intervals."""
    return [end for item in differences for end in (item.lower, item.upper)]


def reach(places: Sequence[float]) -> float:
    """Where a plot of differences ends on both sides: a round number that all of them fit in, 1 at most."""
    widest = max(map(abs, places), default=1.0)
    return next((limit for limit in (0.05, 0.1, 0.2, 0.5) if widest <= limit), 1.0)
