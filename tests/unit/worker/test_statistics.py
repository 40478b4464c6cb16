"""Statistics against scipy and statsmodels, and against exact enumeration where neither has the number."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from safety_worker.statistics import (
    PairTable,
    _paired_bootstrap,
    mean_of_shares,
    normal,
    paired_difference,
    paired_mean_difference,
    paired_values,
    unseen,
    wilson,
)

counts = st.integers(0, 400)


@given(st.integers(1, 5000), st.data())
def test_wilson_equals_statsmodels(total: int, data: st.DataObject) -> None:
    passed = data.draw(st.integers(0, total))
    got = wilson(passed, total)
    lower, upper = proportion_confint(passed, total, method="wilson")
    assert got.value == pytest.approx(passed / total, abs=1e-12)
    assert got.lower == pytest.approx(max(lower, 0.0), abs=1e-9)
    assert got.upper == pytest.approx(min(upper, 1.0), abs=1e-9)
    assert 0 <= got.lower <= got.value + 1e-12
    assert got.value - 1e-12 <= got.upper <= 1


def test_no_rows_have_no_share() -> None:
    assert wilson(0, 0) is None
    assert mean_of_shares([]) is None
    assert mean_of_shares([(1, 2), (0, 0)]) is None
    assert paired_difference(PairTable(0, 0, 0, 0)) is None
    assert paired_mean_difference([]) is None
    assert paired_mean_difference([PairTable(1, 1, 1, 1), PairTable(0, 0, 0, 0)]) is None


@given(st.tuples(counts, counts, counts, counts).filter(any))
def test_p_value_equals_exact_mcnemar(cells: tuple[int, int, int, int]) -> None:
    both, only_new, only_baseline, neither = cells
    got = paired_difference(PairTable(*cells))
    reference = mcnemar([[both, only_baseline], [only_new, neither]], exact=True)
    assert got.p_value == pytest.approx(min(reference.pvalue, 1.0), abs=1e-9)
    assert got.difference == pytest.approx((only_new - only_baseline) / sum(cells), abs=1e-12)
    assert -1 <= got.lower <= got.difference <= got.upper <= 1


@given(st.tuples(counts, counts, counts, counts).filter(any))
def test_swapping_the_runs_mirrors_the_difference(cells: tuple[int, int, int, int]) -> None:
    both, only_new, only_baseline, neither = cells
    there = paired_difference(PairTable(both, only_new, only_baseline, neither))
    back = paired_difference(PairTable(both, only_baseline, only_new, neither))
    assert (back.lower, back.upper) == pytest.approx((-there.upper, -there.lower), abs=1e-9)
    assert back.p_value == pytest.approx(there.p_value, abs=1e-9)


def test_newcombes_interval_follows_his_formulas() -> None:
    """Worked through by hand for 36 both, 2 only first, 12 only second, 0 neither."""
    both, first, second, neither = 36, 2, 12, 0
    n = both + first + second + neither
    p1, p2 = (both + first) / n, (both + second) / n
    l1, u1 = proportion_confint(both + first, n, method="wilson")
    l2, u2 = proportion_confint(both + second, n, method="wilson")
    product = both * neither - first * second  # negative: no correction
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    phi = product / math.sqrt(margins)
    lower = (p1 - p2) - math.sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    upper = (p1 - p2) + math.sqrt((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2)
    got = paired_difference(PairTable(both, first, second, neither))
    assert (got.lower, got.upper) == pytest.approx((lower, upper), abs=1e-9)


@pytest.mark.parametrize(("new", "old", "together"), [(0.6, 0.5, 0.4), (0.9, 0.7, 0.68), (0.5, 0.05, 0.04)])
def test_the_paired_interval_covers_the_truth_as_often_as_it_says(
    new: float, old: float, together: float
) -> None:
    """Exact coverage, by enumeration of all tables of 16 pairs, is near 95 %."""
    n = 16
    cells = [together, new - together, old - together, 1 - new - old + together]
    covered = 0.0
    for both in range(n + 1):
        for only_new in range(n + 1 - both):
            for only_old in range(n + 1 - both - only_new):
                table = [both, only_new, only_old, n - both - only_new - only_old]
                weight = _multinomial(table, cells)
                if weight < 1e-5:
                    continue
                got = paired_difference(PairTable(*table))
                covered += weight * (got.lower <= new - old <= got.upper)
    assert 0.93 < covered < 0.99


def _multinomial(table: list[int], cells: list[float]) -> float:
    logarithm = math.lgamma(sum(table) + 1)
    for count, share in zip(table, cells, strict=True):
        logarithm += count * math.log(share) - math.lgamma(count + 1)
    return math.exp(logarithm)


def test_the_mean_of_one_share_has_its_own_wilson_interval() -> None:
    assert mean_of_shares([(30, 40)]) == wilson(30, 40)


def test_a_perfect_mean_is_not_beyond_doubt() -> None:
    """A bootstrap alone would give an interval without width here."""
    got = mean_of_shares([(3, 3), (4, 4)])
    assert got.value == 1.0
    assert got.lower < 0.8


def test_the_mean_of_shares_is_seeded_and_near_the_normal_interval_for_many_rows() -> None:
    shares = [(700, 1000), (1500, 2000)]
    got = mean_of_shares(shares)
    assert got == mean_of_shares(shares)
    error = math.sqrt(0.7 * 0.3 / 1000 + 0.75 * 0.25 / 2000) / 2
    half = stats.norm.ppf(0.975) * error
    assert got.value == pytest.approx(0.725)
    assert (got.lower, got.upper) == pytest.approx((0.725 - half, 0.725 + half), abs=0.0015)


def test_one_suite_is_its_own_mean_and_two_equal_ones_are_surer() -> None:
    table = PairTable(10, 12, 3, 25)
    alone = paired_difference(table)
    assert paired_mean_difference([table]) == alone
    both = paired_mean_difference([table, table])
    assert both.difference == pytest.approx(alone.difference)
    assert both.p_value < alone.p_value
    assert both.upper - both.lower < alone.upper - alone.lower
    assert both.test == "sign-flip-permutation"


def test_a_permutation_over_equal_suites_agrees_with_mcnemar_on_the_pooled_rows() -> None:
    got = paired_mean_difference([PairTable(20, 9, 4, 17), PairTable(20, 8, 3, 19)])
    pooled = stats.binomtest(17, 24, 0.5).pvalue
    assert got.p_value == pytest.approx(pooled, abs=0.005)


def test_standard_errors_become_intervals_within_bounds() -> None:
    got = normal(0.98, 0.02, 100)
    assert got.lower == pytest.approx(0.98 - 1.959963984540054 * 0.02, abs=1e-9)
    assert got.upper == 1.0
    assert normal(0.5, 0.1, 0) is None


@pytest.mark.parametrize("error", [0.0, 1e-18, 0.001])
def test_a_standard_error_near_zero_is_not_beyond_doubt(error: float) -> None:
    """Values that are all 0.1 have one of 1e-18; 19 times 1 and once 0.98 have one of 0.001."""
    got = normal(1.0, error, 20)
    assert got.lower == pytest.approx(1 - proportion_confint(0, 20, method="wilson")[1], abs=1e-9)


TABLES = [PairTable(60, 25, 10, 65), PairTable(20, 4, 9, 7)]


def rows_of(table: PairTable) -> tuple[list[int], list[int]]:
    """The table's rows, as right and wrong answers of the new run and of the baseline."""
    both, only_new, only_baseline, neither = table
    new = [1] * (both + only_new) + [0] * (only_baseline + neither)
    old = [1] * both + [0] * only_new + [1] * only_baseline + [0] * neither
    return new, old


def test_the_paired_bootstrap_of_a_mean_agrees_with_scipys() -> None:
    """Pairs are drawn within their suite; scipy draws the rows themselves, with other random numbers."""
    differences = [np.subtract(*rows_of(table)) for table in TABLES]

    def mean(one: np.ndarray, two: np.ndarray, axis: int) -> np.ndarray:
        return (one.mean(axis=axis) + two.mean(axis=axis)) / 2

    reference = stats.bootstrap(
        differences, mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert _paired_bootstrap(TABLES) == pytest.approx((reference.low, reference.high), abs=0.006)
    got = paired_mean_difference(TABLES)
    assert got.lower <= _paired_bootstrap(TABLES)[0]
    assert got.upper >= _paired_bootstrap(TABLES)[1]


def test_the_paired_bootstrap_agrees_with_its_exact_distribution() -> None:
    """12 pairs: all ways in which they can be drawn, with their chances."""
    table = PairTable(4, 5, 2, 1)
    chances = [table.only_new / 12, table.only_baseline / 12, 5 / 12]
    weights: dict[int, float] = {}
    for new in range(13):
        for old in range(13 - new):
            chance = _multinomial([new, old, 12 - new - old], chances)
            weights[new - old] = weights.get(new - old, 0.0) + chance
    ends = []
    for tail in (0.025, 0.975):
        below = 0.0
        for difference in sorted(weights):
            below += weights[difference]
            if below >= tail:
                ends.append(difference / 12)
                break
    assert _paired_bootstrap([table]) == pytest.approx(ends, abs=1e-9)


def test_a_paired_mean_is_seeded_and_never_without_width() -> None:
    assert paired_mean_difference(TABLES) == paired_mean_difference(TABLES)
    same = paired_mean_difference([PairTable(5, 0, 0, 0), PairTable(7, 0, 0, 0)])
    assert same.lower < -0.1
    assert same.p_value == 1.0


def test_values_that_are_shares_agree_with_the_tests_for_shares() -> None:
    new, old = rows_of(TABLES[0])
    got = paired_values(new, old)
    share = paired_difference(TABLES[0])
    assert got.difference == pytest.approx(share.difference, abs=1e-12)
    assert got.p_value == pytest.approx(share.p_value, abs=0.005)
    assert (got.lower, got.upper) == pytest.approx((share.lower, share.upper), abs=0.02)


def test_the_interval_of_values_agrees_with_students() -> None:
    generator = np.random.default_rng(3)
    old = generator.uniform(0, 0.8, 400)
    new = old + generator.uniform(-0.05, 0.2, 400)
    got = paired_values(new.tolist(), old.tolist())
    reference = stats.ttest_rel(new, old).confidence_interval(0.95)
    assert (got.lower, got.upper) == pytest.approx((reference.low, reference.high), abs=0.001)
    assert got.p_value < 0.001


def test_the_p_value_of_few_values_is_exact() -> None:
    new, old = [0.9, 0.8, 0.7, 0.4, 0.6], [0.5, 0.5, 0.5, 0.5, 0.5]
    signs = itertools.product((-1, 1), repeat=5)
    sums = [sum(s * (n - o) for s, n, o in zip(sign, new, old, strict=True)) for sign in signs]
    extreme = sum(abs(total) >= abs(sum(new) - sum(old)) - 1e-12 for total in sums)
    assert paired_values(new, old).p_value == pytest.approx(extreme / 32, abs=1e-9)


def test_equal_values_are_not_beyond_doubt() -> None:
    got = paired_values([0.25] * 10, [0.25] * 10)
    assert (got.difference, got.p_value) == (0.0, 1.0)
    assert got.upper == pytest.approx(proportion_confint(0, 10, method="wilson")[1], abs=1e-9)
    assert paired_values([], []) is None
    shifted = paired_values([0.5] * 20, [0.25] * 20)
    assert shifted.lower < 0.25 < shifted.upper
    assert shifted.p_value < 0.001


@pytest.mark.parametrize("other", [0.3, 0.1 + 0.2, 0.31])
def test_values_that_are_nearly_equal_are_not_beyond_doubt(other: float) -> None:
    """Three questions do not show that a model got no worse, also where the last digit of one differs."""
    got = paired_values([0.3, 0.3, other], [0.3, 0.3, 0.3])
    assert got.lower <= -unseen(3) + 0.01
    assert got.upper >= unseen(3)


def test_the_ends_of_a_perfect_share_are_exact() -> None:
    """Closed form at the border: Wilson's lower end is n / (n + z^2)."""
    z = stats.norm.ppf(0.975)
    assert wilson(50, 50).lower == pytest.approx(50 / (50 + z**2), abs=1e-12)
    assert unseen(50) == pytest.approx(z**2 / (50 + z**2), abs=1e-12)
