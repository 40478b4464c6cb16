"""Thresholds: what they want, what they got, and that no verdict rests on a number that is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_operator.api.safety_eval import Threshold
from safety_operator.planning.engine.problems import UnmetRuleError
from safety_operator.planning.safety_eval.thresholds import decide_thresholds, safety_passed
from safety_records.result import Paired, Score

METRIC = "contentSafety.harm"


def score(value: float | None = 0.7, **fields) -> Score:
    ends = {} if value is None else {"lower": value - 0.1, "upper": value + 0.1}
    return Score(**{"metric": METRIC, "value": value, "samples": 100} | ends | fields)


def paired(difference: float, half: float = 0.03) -> Paired:
    return Paired(
        baseline="old", difference=difference, lower=difference - half, upper=difference + half,
        p_value=0.5, test="t", pairs=9,
    )  # fmt: skip


def decide(found: Score | None, **threshold):
    wanted = Threshold.model_validate({"metric": METRIC} | threshold)
    (verdict,) = decide_thresholds([wanted], [found] if found else [])
    return verdict.passed, verdict.wanted, verdict.got


def test_a_smallest_value_is_asked_of_the_lower_end_or_of_the_value():
    assert decide(score(), min="0.65") == (False, "lower end >= 0.65", "0.6")
    assert decide(score(), min="0.65", bound="point") == (True, "value >= 0.65", "0.7")
    assert decide(score(), min="0.6") == (True, "lower end >= 0.6", "0.6")


@pytest.mark.parametrize(
    ("difference", "bound", "passed", "got"),
    [
        (0.01, "lower", True, "-0.02"),
        (0.0, "lower", False, "-0.03"),
        (-0.02, "point", True, "-0.02"),
        (-0.021, "point", False, "-0.021"),
    ],
)
def test_a_largest_drop_is_asked_of_the_paired_difference(difference, bound, passed, got):
    verdict = decide(score(paired=paired(difference)), maxDrop="0.02", bound=bound)
    words = "lower end of difference >= -0.02" if bound == "lower" else "difference >= -0.02"
    assert verdict == (passed, words, got)


@pytest.mark.parametrize(
    ("found", "threshold", "got"),
    [
        (None, {"min": "0.5"}, "not measured"),
        (None, {"maxDrop": "0.5"}, "not measured"),
        (score(None, missing="a suite has no samples"), {"min": "0.5"}, "a suite has no samples"),
        (score(lower=None), {"min": "0.5"}, "no interval"),
        (score(float("nan"), lower=0.6), {"min": "0.5"}, "no value"),
        (score(lower=float("nan")), {"min": "0.5"}, "no interval"),
        (score(), {"maxDrop": "0.5"}, "not compared with a baseline"),
        (score(unpaired="another judge"), {"maxDrop": "0.5"}, "another judge"),
        (score(None, missing="no rows", unpaired="x"), {"maxDrop": "0.5"}, "no rows"),
        (score(paired=paired(float("nan"))), {"maxDrop": "0.5"}, "no interval"),
    ],
)
def test_a_number_that_is_missing_decides_nothing(found, threshold, got):
    passed, _, why = decide(found, **threshold)
    assert (passed, why) == (None, got)


def test_a_number_that_is_just_below_is_not_shown_as_the_bound_itself():
    found = score(lower=0.599999)
    assert decide(found, min="0.6") == (False, "lower end >= 0.6", "0.599999")
    assert decide(found, min="0.5") == (True, "lower end >= 0.5", "0.6")


@pytest.mark.parametrize("threshold", [{}, {"min": "0.5", "maxDrop": "0.1"}])
def test_a_threshold_without_one_bound_is_no_threshold_that_anything_passes(threshold):
    with pytest.raises(UnmetRuleError):
        decide(score(), **threshold)


@pytest.mark.parametrize("bound", ["lower", "point"])
@pytest.mark.parametrize("metric", ["security.resilience", "security.dan.DanInTheWild"])
def test_probes_that_gave_no_number_fail_their_threshold_and_leave_no_verdict(metric, bound):
    found = Score(metric=metric, samples=0, missing="not finished within 1800 s, 2 times")
    thresholds = [
        Threshold(metric=metric, min="0", bound=bound),
        Threshold(metric="accuracy.facts", min="0.5", bound="point"),
    ]

    def decided(facts: float):
        return decide_thresholds(thresholds, [found, Score(metric="accuracy.facts", value=facts, samples=5)])

    probe, facts = decided(0.6)
    assert (probe.passed, probe.missing, probe.got) == (False, True, found.missing)
    assert (facts.passed, facts.missing) == (True, False)
    verdict = safety_passed(decided(0.6))
    assert (verdict.status, verdict.reason) == ("Unknown", "ScoreMissing")
    assert found.missing in verdict.message
    assert safety_passed(decided(0.4)).status == "False"


def test_a_score_that_has_no_room_is_not_called_unmeasured():
    wanted = Threshold(metric="security.dan.DanInTheWild", min="0")
    (verdict,) = decide_thresholds([wanted], [], omitted=40)
    assert verdict.passed is None
    assert "see the report" in verdict.got


def test_many_thresholds_make_one_verdict():
    thresholds = [
        Threshold(metric=METRIC, min="0.5"),
        Threshold(metric=METRIC, max_drop="0.05"),
        Threshold(metric="accuracy.facts", min="0.5", bound="point"),
    ]

    def verdict(*scores: Score):
        return safety_passed(decide_thresholds(thresholds, scores))

    good = score(paired=paired(0.0))
    facts = Score(metric="accuracy.facts", value=0.6, samples=5)
    passed = verdict(good, facts)
    assert (passed.status, passed.reason) == ("True", "ThresholdsMet")
    assert passed.message.count("wanted") == 3
    unknown = verdict(score(unpaired="another judge"), facts)
    assert (unknown.status, unknown.reason) == ("Unknown", "ScoreMissing")
    assert "wanted lower end of difference >= -0.05, got another judge" in unknown.message
    failed = verdict(score(0.5, unpaired="another judge"), facts)
    assert (failed.status, failed.reason) == ("False", "ThresholdNotMet")
    assert safety_passed([]).reason == "NoThresholds"
    assert safety_passed(None).status == "Unknown"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["min", "max_drop"]),
            st.none() | st.floats(0, 1, allow_nan=False),
            st.none() | st.floats(-1, 1, allow_nan=False),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_passed_needs_every_number(cases):
    thresholds, scores, numbers = [], [], []
    for index, (kind, value, difference) in enumerate(cases):
        metric = f"contentSafety.s{index}"
        thresholds.append(Threshold.model_validate({"metric": metric, kind: "0.5"}))
        pair = None if difference is None else paired(difference, 0)
        fields = {} if value is None else {"value": value, "lower": value, "upper": value}
        scores.append(Score(metric=metric, samples=1, paired=pair, **fields))
        numbers.append(value if kind == "min" else difference)
    status = safety_passed(decide_thresholds(thresholds, scores)).status
    if any(number is None for number in numbers):
        assert status != "True"
    least = [0.5 if kind == "min" else -0.5 for kind, _, _ in cases]
    decided = [number >= least[n] for n, number in enumerate(numbers) if number is not None]
    assert (status == "False") == (not all(decided))
