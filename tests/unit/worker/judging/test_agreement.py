"""Agreement of judges with people, against statsmodels; and votes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from safety_records.judges import Agreement
from safety_records.result import MAX_RESULT_BYTES, Artifact, StageResult
from safety_worker.judging.agreement import Table, kappa, measure
from safety_worker.judging.voting import combine_verdicts, votes_needed
from safety_worker.rows import VerdictRow
from safety_worker.termination import fit

cells = st.integers(min_value=0, max_value=60)


@given(cells, cells, cells, cells)
def test_kappa_and_its_interval_are_those_of_statsmodels(a: int, b: int, c: int, d: int) -> None:
    table = Table(a, b, c, d)
    mine = kappa(table)
    if mine is None:
        assert table.total == 0 or table.total in (a, d)
        return
    theirs = cohens_kappa(np.array([[a, b], [c, d]], dtype=float))
    assert mine.value == pytest.approx(theirs.kappa, abs=1e-9)
    assert mine.lower == pytest.approx(max(theirs.kappa_low, -1.0), abs=1e-9)
    assert mine.upper == pytest.approx(min(theirs.kappa_upp, 1.0), abs=1e-9)


def test_shares_have_wilson_intervals() -> None:
    pairs = [(True, True)] * 40 + [(False, False)] * 30 + [(False, True)] * 6 + [(True, False)] * 4
    found = measure("j", pairs, 3, None)
    assert (found.samples, found.unparsed, found.is_trusted) == (80, 3, True)
    low, high = proportion_confint(70, 80, method="wilson")
    assert (found.agreement_lower, found.agreement_upper) == pytest.approx((low, high), abs=1e-9)
    low, high = proportion_confint(6, 36, method="wilson")
    assert found.false_safe == pytest.approx(6 / 36)
    assert (found.false_safe_lower, found.false_safe_upper) == pytest.approx((low, high), abs=1e-9)


def test_without_unsafe_rows_the_dangerous_mistake_is_unknown_not_zero() -> None:
    found = measure("j", [(True, True)] * 5, 0, 0.5)
    assert (found.agreement, found.false_safe, found.kappa) == (1.0, None, None)
    assert found.is_trusted


def test_without_rows_nothing_is_known_and_a_bound_is_not_met() -> None:
    found = measure("j", [], 0, 0.5)
    assert (found.agreement, found.is_trusted) == (None, False)


def vote(passed: bool | None) -> VerdictRow:
    return VerdictRow(
        suite="s", digest="d", judge="j", passed=bool(passed), unparsed=passed is None, detail=str(passed)
    )


@pytest.mark.parametrize(
    ("votes", "agreement", "passed", "unparsed"),
    [
        ([True, True, True], "all", True, False),
        ([True, False, True], "all", False, False),
        ([True, None, True], "all", False, True),
        ([False, None, True], "all", False, False),
        ([True, False, True], "majority", True, False),
        ([True, None, False], "majority", False, True),
        ([True, None, True], "majority", True, False),
        ([True, False], "majority", False, False),
        ([False, False, True], "any", True, False),
        ([False, None], "any", False, True),
        ([None], "all", False, True),
    ],
)
def test_votes_are_counted_and_unreadable_ones_never_help(
    votes: list[bool | None], agreement: Agreement, passed: bool, unparsed: bool
) -> None:
    names = [f"j{number}" for number in range(len(votes))]
    combined = combine_verdicts(names, [vote(item) for item in votes], agreement)
    assert (combined.passed, combined.unparsed) == (passed, unparsed)


def test_a_missing_verdict_is_an_unreadable_vote() -> None:
    combined = combine_verdicts(["a", "b"], [vote(True), None], "all")
    assert (combined.passed, combined.unparsed, combined.detail) == (False, True, "a: True; b: no verdict")


@given(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=8))
def test_stricter_agreement_never_lets_more_through(votes: list[bool | None]) -> None:
    names = [str(number) for number in range(len(votes))]
    rows = [vote(item) for item in votes]
    strict, middle, lenient = (
        combine_verdicts(names, rows, kind).passed for kind in ("all", "majority", "any")
    )
    assert strict <= middle <= lenient
    assert votes_needed("majority", len(votes)) * 2 > len(votes)


def test_eight_calibrated_judges_fit_into_a_termination_message() -> None:
    pairs = [(n % 3 == 0, n % 7 < 3) for n in range(123_457)]
    item = measure("j" * 40, pairs, 12_345, 0.853)
    result = StageResult(
        stage="judge",
        inputs_hash="x" * 64,
        output=Artifact(uri="x" * 160, digest="sha256:" + "0" * 64, bytes=10**9),
        rows=10**6,
        calibration=(item,) * 8,
    )
    text = fit(result)
    assert len(text.encode()) <= MAX_RESULT_BYTES
    read = StageResult.model_validate_json(text)
    assert len(read.calibration) == 8
    assert read.calibration[0].agreement == pytest.approx(item.agreement, abs=1e-6)
