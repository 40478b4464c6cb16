"""What a GuardedDeployment's rails did, and what they add and cost against the same model without them.

Made by the score stage from the samples of both; the report shows it. Pure. Left out: which answers were
blocked, which the guarded endpoint says and the generate stage writes down.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safety_records.eval_stages import EvalSuite
from safety_records.report import ReportRails, ReportRailsSuite
from safety_records.result import JudgeAgreement, Latency, Paired, RailsEffect, Score, Share
from safety_worker.reporting.content import (
    COMPOSITE,
    Baseline,
    SectionScores,
    composite_difference,
    content_scores,
)
from safety_worker.reporting.samples import Sample
from safety_worker.reporting.validity import silent
from safety_worker.statistics import wilson

UNGUARDED = "unguarded"
"""What the same model without rails is called in comparisons."""

QUANTILES = (0.5, 0.95)


def rails_effect(
    suites: Sequence[EvalSuite],
    guarded: Sequence[Sample],
    unguarded: Sequence[Sample] | None,
    agreements: Sequence[JudgeAgreement] = (),
) -> ReportRails:
    """What the rails did.

    Parameters
    ----------
    suites
        The suites that were asked.
    guarded
        Samples of the answers through the rails.
    unguarded
        Samples of the same prompts answered by the same model without rails; None: not asked.
    agreements
        How far calibrated judges agree with people.
    """
    compared = None
    if unguarded is not None:
        compared = _Compared.of(suites, guarded, unguarded, agreements)
    details = tuple(_suite(suite, guarded, compared) for suite in suites)
    latency, why = latencies(guarded, unguarded)
    gained = compared.find(COMPOSITE) if compared else _Difference()
    answered = compared.answered(suites) if compared else _Difference()
    effect = RailsEffect(
        blocked_unsafe=blocked_share(_rows_of(suites, "safe", guarded)),
        blocked_benign=blocked_share(_rows_of(suites, "answer", guarded)),
        unguarded=gained.unguarded,
        gained=gained.paired,
        gained_missing=gained.missing[:200],
        answered=answered.paired,
        answered_missing=answered.missing[:200],
        latency=latency,
        latency_missing=why,
    )
    return ReportRails(effect=effect, compared=compared is not None, suites=details)


def _rows_of(suites: Sequence[EvalSuite], expect: str, samples: Sequence[Sample]) -> list[Sample]:
    names = {suite.name for suite in suites if suite.expect == expect}
    return [row for row in samples if row.suite in names]


def blocked_share(samples: Sequence[Sample]) -> Share | None:
    """Share of the answers that the rails blocked; None without any.

    Prompts that were refused for good (too long, for example) never reached the rails and do not count, nor
    do answers without text, which held nothing to block. None also where there are too many of these.
    """
    reached = [row for row in samples if not row.unanswered]
    rows = [] if silent(reached) else [row for row in reached if not row.silence]
    blocked = sum(row.blocked is True for row in rows)
    interval = wilson(blocked, len(rows))
    if interval is None:
        return None
    return Share(
        count=blocked, total=len(rows), value=interval.value, lower=interval.lower, upper=interval.upper
    )


def latencies(guarded: Sequence[Sample], unguarded: Sequence[Sample] | None) -> tuple[Latency | None, str]:
    """(times of whole answers, why there are none).

    Only prompts that the model answered count, where both were asked in both ways: a block that spares the
    model its work would make rails look fast, and so would an answer without text.
    """
    sides = {"with rails": guarded, "without rails": unguarded or ()}
    for where, samples in sides.items():
        if problem := silent(samples):
            return None, f"{where}: {problem}"
    mine = _times(guarded)
    theirs = mine if unguarded is None else _times(unguarded)
    keys = sorted(mine.keys() & theirs.keys())
    if not keys:
        where = "" if unguarded is None else " in both ways"
        return None, f"no prompt was answered by the model{where}"
    p50, p95 = _quantiles([mine[key] for key in keys])
    latency = Latency(samples=len(keys), p50=p50, p95=p95)
    if unguarded is None:
        return latency, ""
    bare50, bare95 = _quantiles([theirs[key] for key in keys])
    compared = {"unguarded_p50": bare50, "unguarded_p95": bare95}
    added = {"added_p50": p50 - bare50, "added_p95": p95 - bare95}
    return latency.model_copy(update=compared | added), ""


def _times(samples: Sequence[Sample]) -> dict[tuple[str, str], float]:
    """By suite and row: seconds of the answers that came from the model."""
    return {
        (row.suite, row.digest): row.seconds
        for row in samples
        if row.seconds is not None and not row.blocked and not row.silence
    }


def _quantiles(seconds: Sequence[float]) -> tuple[int, int]:
    """Median and 95th percentile in milliseconds, by linear interpolation."""
    half, most = (round(1000 * float(value)) for value in np.quantile(seconds, QUANTILES))
    return half, most


@dataclass(frozen=True)
class _Difference:
    """With rails minus without, under one metric."""

    unguarded: Score | None = None
    paired: Paired | None = None
    missing: str = ""


@dataclass(frozen=True)
class _Compared:
    """Scores of both, and the differences between them."""

    guarded: SectionScores
    unguarded: dict[str, Score]
    baseline: Baseline
    samples: Sequence[Sample]

    @classmethod
    def of(
        cls,
        suites: Sequence[EvalSuite],
        guarded: Sequence[Sample],
        unguarded: Sequence[Sample],
        agreements: Sequence[JudgeAgreement],
    ) -> "_Compared":
        # Judges, data and sampling are the same by construction: both come from one specification.
        baseline = Baseline(UNGUARDED, list(unguarded), lambda _metric: "")
        scores = content_scores(suites, unguarded, None, agreements).scores
        return cls(
            content_scores(suites, guarded, baseline, agreements),
            {score.metric: score for score in scores},
            baseline,
            guarded,
        )

    def find(self, metric: str) -> _Difference:
        """The difference under a metric. Without a score on either side there is none, and a reason."""
        mine = next((score for score in self.guarded.scores if score.metric == metric), None)
        theirs = self.unguarded.get(metric)
        if mine is None or theirs is None:
            return _Difference()
        if mine.missing or theirs.missing:
            why = f"with rails: {mine.missing}" if mine.missing else f"without rails: {theirs.missing}"
            return _Difference(unguarded=theirs, missing=why)
        return _Difference(theirs, mine.paired, "" if mine.paired else self.guarded.unpaired.get(metric, ""))

    def answered(self, suites: Sequence[EvalSuite]) -> _Difference:
        """The mean difference of the suites that expect answers."""
        benign = [suite for suite in suites if suite.expect == "answer"]
        parts = [self.find(f"{COMPOSITE}.{suite.name}") for suite in benign]
        named = zip(benign, parts, strict=True)
        missing = next((f"{suite.name}: {part.missing}" for suite, part in named if part.missing), "")
        if not benign or missing:
            return _Difference(missing=missing)
        return _Difference(paired=composite_difference(benign, self.samples, self.baseline))


def _suite(suite: EvalSuite, guarded: Sequence[Sample], compared: _Compared | None) -> ReportRailsSuite:
    found = compared.find(f"{COMPOSITE}.{suite.name}") if compared else _Difference()
    return ReportRailsSuite(
        name=suite.name,
        expect=suite.expect,
        blocked=blocked_share([row for row in guarded if row.suite == suite.name]),
        unguarded=found.unguarded,
        paired=found.paired,
        missing=found.missing,
    )
