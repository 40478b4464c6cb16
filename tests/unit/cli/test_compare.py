"""Differences between two evaluations: only where they mean something, with the right interval."""

import pytest
from scipy.stats import norm
from tests.unit.cli.support import GivenResources, make_paper, text_of, with_scores

from safety_cli.compare import compare, difference, show
from safety_cli.errors import CliError
from safety_worker.reporting.statistics import wilson


def score(metric="contentSafety.harm", passed=80, samples=160, judge="guard", **more):
    limits = wilson(passed, samples)
    return {
        "metric": metric,
        "value": f"{passed / samples:.6f}",
        "lower": f"{limits.lower:.6f}",
        "upper": f"{limits.upper:.6f}",
        "samples": samples,
        "judge": judge,
    } | more


def test_the_interval_is_newcombes_for_two_shares():
    """Newcombe 1998, method 10, example a: 56/70 against 48/80 gives 0.0524 to 0.3339."""
    value, lower, upper = difference(score(passed=48, samples=80), score(passed=56, samples=70))
    assert value == pytest.approx(0.2, abs=1e-6)
    assert (lower, upper) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_it_nears_the_normal_interval_for_many_rows():
    value, lower, upper = difference(
        score(passed=30_000, samples=60_000), score(passed=31_000, samples=60_000)
    )
    half = norm.ppf(0.975) * (0.25 / 60_000 * 2) ** 0.5
    assert upper - value == pytest.approx(half, rel=1e-2)
    assert value - lower == pytest.approx(half, rel=1e-2)


def rows_of(first, second):
    return compare(with_scores("a", first), with_scores("b", second))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [(80, 120, "better"), (120, 80, "worse"), (80, 81, "no clear difference")],
)
def test_the_word_follows_the_interval(before, after, said):
    (row,) = rows_of([score(passed=before)], [score(passed=after)])
    assert row.word == said
    assert row.difference.startswith(f"{(after - before) / 160:+.3f} [")


def test_other_judges_are_not_compared():
    (row,) = rows_of([score()], [score(judge="other")])
    assert row.difference == ""
    assert row.word == "other judges: not comparable"


def test_the_operators_paired_interval_wins_if_it_is_about_the_same_baseline():
    paired = {"baseline": "a", "difference": "0.1", "lower": "0.06", "upper": "0.14", "pairs": 150}
    (row,) = rows_of([score()], [score(passed=90, paired=paired)])
    assert row.difference == "+0.100 [+0.060, +0.140, 150 pairs]"
    (row,) = rows_of([score()], [score(passed=90, paired=paired | {"baseline": "c"})])
    assert "pairs" not in row.difference


def test_what_one_of_them_lacks_is_said_and_never_a_zero():
    rows = rows_of(
        [score("x"), {"metric": "y", "missing": "the judge gave nonsense"}],
        [score("y"), score("z")],
    )
    assert [(row.metric, row.difference) for row in rows] == [("y", ""), ("z", ""), ("x", "")]
    assert rows[0].first == "missing: the judge gave nonsense"
    assert rows[1].first == "not measured"
    assert rows[2].second == "not measured"


def test_the_page_names_both_models_and_verdicts():
    paper = make_paper(160)
    kubectl = GivenResources([with_scores("a", [score()]), with_scores("b", [score(passed=130)])])
    assert show(paper, kubectl, "a", "safetyeval/b") == 0
    text = text_of(paper)
    assert "A  safetyeval/a: not passed, Succeeded, model hf://org/model@main" in text
    assert "Both are about the same model." in text
    assert "better" in text


def test_only_evaluations_can_be_compared():
    with pytest.raises(CliError, match="only a SafetyEval"):
        show(make_paper(), GivenResources([]), "safetyblend/a", "b")
