"""Differences between two evaluations: only where they mean something, with the right interval."""

import pytest
from scipy.stats import norm
from tests.unit.cli.support import GivenResources, recording_console, render_lines, text_of, with_scores

from safety_cli.compare import build_comparison, compare, difference, show
from safety_cli.errors import CliError
from safety_worker.statistics import wilson


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
    assert row.verdict == said
    assert row.difference.startswith(f"{(after - before) / 160:+.3f} [")


def test_other_judges_are_not_compared():
    (row,) = rows_of([score()], [score(judge="other")])
    assert row.difference == ""
    assert row.verdict == "other judges: not comparable"


def test_the_operators_paired_interval_wins_if_it_is_about_the_same_baseline():
    paired = {"baseline": "a", "difference": "0.1", "lower": "0.06", "upper": "0.14", "pairs": 150}
    (row,) = rows_of([score()], [score(passed=90, paired=paired)])
    assert row.difference == "+0.100 [+0.060, +0.140, 150 pairs]"
    (row,) = rows_of([score()], [score(passed=90, paired=paired | {"baseline": "c"})])
    assert "pairs" not in row.difference


SPEC = {
    "model": {"source": {"uri": "hf://org/model@main"}},
    "judges": [{"name": "guard", "type": "refusal-phrases"}, {"name": "other", "type": "refusal-phrases"}],
    "contentSafety": [
        {"name": "harm", "dataset": {"preset": "harmbench"}, "judge": "guard", "limit": 160},
        {"name": "over", "dataset": {"preset": "harmbench"}, "judge": "guard", "expect": "answer"},
    ],
    "security": {"garak": {"probes": ["dan.Dan_11_0"]}},
    "accuracy": [{"name": "facts", "dataset": "configmap://exam/questions.jsonl"}],
}


def verdict_on(metric, **changes):
    """What is said of a metric when the second spec has some fields changed."""
    first, second = (with_scores(name, [score(metric)]) for name in ("a", "b"))
    first["spec"], second["spec"] = SPEC, SPEC | changes
    (row,) = compare(first, second)
    assert bool(row.difference) == (row.verdict == "no clear difference")
    return row.verdict


HARM, OVER = SPEC["contentSafety"]


@pytest.mark.parametrize(
    ("metric", "changes", "said"),
    [
        ("contentSafety.harm", {}, "no clear difference"),
        ("contentSafety.harm", {"model": {"source": {"uri": "hf://org/other"}}}, "no clear difference"),
        ("contentSafety.harm", {"sampling": {"temperature": "0"}}, "no clear difference"),
        ("contentSafety.harm", {"sampling": {"temperature": "0.7"}}, "other sampling: not comparable"),
        ("contentSafety.harm", {"contentSafety": [HARM | {"limit": 80}, OVER]}, "other data: not comparable"),
        ("contentSafety.over", {"contentSafety": [HARM | {"limit": 80}, OVER]}, "no clear difference"),
        ("contentSafety", {"contentSafety": [HARM]}, "other data and judge: not comparable"),
        (
            "contentSafety.harm",
            {"judges": [{"name": "guard", "type": "refusal-phrases", "phrases": ["No"]}]},
            "other judge: not comparable",
        ),
        (
            "contentSafety.harm",
            {"serving": {"reasoningParser": "qwen3"}},
            "other reasoning parser: not comparable",
        ),
        ("contentSafety.harm", {"serving": {"args": ["--quantization", "fp8"]}}, "no clear difference"),
        ("security.resilience", {"sampling": {"temperature": "0.7"}}, "no clear difference"),
        ("security.resilience", {"security": {"garak": {"probes": ["tier1"]}}}, "other scan: not comparable"),
        ("accuracy.facts", {"contentSafety": [HARM]}, "no clear difference"),
        (
            "accuracy.facts.acc_norm",
            {"accuracy": [{"name": "facts", "dataset": "configmap://exam/more.jsonl"}]},
            "other benchmark: not comparable",
        ),
    ],
)
def test_what_was_measured_differently_is_not_subtracted(metric, changes, said):
    assert verdict_on(metric, **changes) == said


def test_specs_that_this_plugin_does_not_know_are_compared_as_they_stand():
    first, second = (with_scores(name, [score()]) for name in ("a", "b"))
    first["spec"], second["spec"] = SPEC | {"new": 1}, SPEC | {"new": 1, "sampling": {"seed": 1}}
    (row,) = compare(first, second)
    assert row.verdict == "other sampling: not comparable"


def test_the_operators_reason_wins_where_it_was_asked_to_compare():
    first, second = with_scores("a", [score()]), with_scores("b", [score(unpaired="the data set differs")])
    second["spec"] = {"baselineRef": {"name": "a"}}
    (row,) = compare(first, second)
    assert row.verdict == "not comparable: the data set differs"
    assert row.difference == ""


def test_what_one_of_them_lacks_is_said_and_never_a_zero():
    rows = rows_of(
        [score("x"), {"metric": "y", "missing": "the judge gave nonsense"}],
        [score("y"), score("z")],
    )
    assert [(row.metric, row.difference) for row in rows] == [("y", ""), ("z", ""), ("x", "")]
    assert rows[0].first == "missing: the judge gave nonsense"
    assert rows[1].first == "not measured"
    assert rows[2].second == "not measured"


def test_a_score_that_a_status_has_no_room_for_is_not_called_unmeasured():
    first, second = with_scores("a", [score("x")]), with_scores("b", [])
    second["status"]["omittedScores"] = 62
    (row,) = compare(first, second)
    assert row.second == "in the report"


def test_the_page_names_both_models_and_verdicts():
    console = recording_console(160)
    kubectl = GivenResources([with_scores("a", [score()]), with_scores("b", [score(passed=130)])])
    assert show(console, kubectl, "a", "safetyeval/b") == 0
    text = text_of(console)
    assert "A  safetyeval/a: not passed, Succeeded, model hf://org/model@main" in text
    assert "Both are about the same model." in text
    assert "better" in text


def test_only_evaluations_can_be_compared():
    with pytest.raises(CliError, match="only a SafetyEval"):
        show(recording_console(), GivenResources([]), "safetyblend/a", "b")


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_the_table_fits_and_keeps_metric_values_and_verdict(width):
    rows = rows_of([score(passed=80)], [score(passed=120)])
    lines = render_lines(build_comparison(rows, width), width)
    assert all(len(line) <= width for line in lines)
    assert lines[1].startswith("contentSafety.harm  0.500")
    assert lines[1].endswith("better")
    assert ("0.500 [0.423, 0.577]" in lines[1]) == (width >= 100)
