"""Statistics of shares and means: intervals, composites, paired differences. Pure; nothing valid gives None.

Intervals are at 95 %. Single shares, p-values and the bootstrap of means come from scipy; what scipy lacks
follows the papers named.

Bootstraps are seeded, stratified (rows are drawn within their suite) and of the percentile kind. BCa was
decided against: its correction is undefined where all rows came out the same, which is where a gate needs an
interval most. Instead the bootstrap's interval is joined with one that follows from Wilson limits, has
the right skew near 0 and 1, and never loses its width; the wider end counts.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
BOOTSTRAP_DRAWS = 10_000
"""Draws of a bootstrap: the ends of its interval are then stable to about 0.001."""
VALUE_DRAWS = 9_999
"""Draws of a permutation over values that are no shares; fewer differences than 14 are enumerated."""
FEW_VALUES = 30
"""Fewer values than this leave more to what none of them shows than their own spread says."""
ROUNDING = 1e-9
"""Differences below it come from how computers round."""
BATCH_NUMBERS = 5_000_000
"""Numbers held at a time while values are resampled: 40 MB."""
PERMUTATION_DRAWS = 100_000
SEED = 20240601
"""Seed of every random draw here: the same rows always give the same numbers."""


class Interval(NamedTuple):
    """An estimate and its 95 % interval."""

    value: float
    lower: float
    upper: float


class PairTable(NamedTuple):
    """Rows of two runs on the same prompts, counted by how they came out."""

    both: int
    """Passed in both."""
    only_new: int
    """Passed in the new run only."""
    only_baseline: int
    """Passed in the baseline only."""
    neither: int

    @property
    def pairs(self) -> int:
        """All rows."""
        return sum(self)


class PairedDifference(NamedTuple):
    """New minus baseline, -1..1."""

    difference: float
    lower: float
    upper: float
    p_value: float
    test: str


def wilson(passed: int, total: int) -> Interval | None:
    """A share with its Wilson score interval; None for no rows."""
    if total == 0:
        return None
    interval = stats.binomtest(passed, total).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(passed / total, float(interval.low), float(interval.high))


def normal(value: float, standard_error: float, samples: int) -> Interval | None:
    """A mean of values in 0..1 from its standard error, kept within 0..1; None for no samples.

    Where all values are the same the standard error is 0, or what rounding leaves of it, and that of few says
    little: the interval then has at least the width that so many samples leave to what none of them shows
    (see :func:`unseen`).
    """
    if samples == 0:
        return None
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * standard_error
    if half < ROUNDING or samples < FEW_VALUES:
        half = max(half, unseen(samples))
    return Interval(value, max(value - half, 0.0), min(value + half, 1.0))


def unseen(samples: int) -> float:
    """How large the share of something may be that none of so many samples shows: Wilson's upper limit."""
    none = wilson(0, samples)
    return none.upper if none else 1.0


def mean_of_shares(shares: Sequence[tuple[int, int]]) -> Interval | None:
    """The unweighted mean of several shares, given as (passed, total); None if any of them has no rows.

    The interval is the outer one of two: a seeded bootstrap over the rows of each share, and Wilson limits
    combined by the method of variance estimates recovery (Zou and Donner 2008). The bootstrap alone has no
    width where every row passed, which would let a gate believe in perfection after three prompts.
    One share has its own Wilson interval.
    """
    if not shares or any(total == 0 for _, total in shares):
        return None
    singles = [wilson(passed, total) for passed, total in shares]
    intervals = [single for single in singles if single is not None]
    if len(intervals) == 1:
        return intervals[0]
    count = len(intervals)
    value = sum(single.value for single in intervals) / count
    below = math.sqrt(sum((single.value - single.lower) ** 2 for single in intervals)) / count
    above = math.sqrt(sum((single.upper - single.value) ** 2 for single in intervals)) / count
    generator = np.random.default_rng(SEED)
    draws = (
        sum(generator.binomial(total, passed / total, BOOTSTRAP_DRAWS) / total for passed, total in shares)
        / count
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(end) for end in np.quantile(draws, [tail, 1 - tail]))
    return Interval(value, max(min(value - below, low), 0.0), min(max(value + above, high), 1.0))


def paired_difference(table: PairTable) -> PairedDifference | None:
    """Difference of two shares on the same rows; None for no rows.

    p-value: McNemar's exact test. Interval: square-and-add of Wilson limits with the correlation of the pairs
    (Newcombe 1998, Statistics in Medicine 17, 2635-2650, method 10).
    """
    both, only_new, only_baseline, _ = table
    pairs = table.pairs
    if pairs == 0:
        return None
    new = wilson(both + only_new, pairs)
    old = wilson(both + only_baseline, pairs)
    assert new is not None
    assert old is not None
    phi = _correlation(table)
    difference = (only_new - only_baseline) / pairs
    below = _square_and_add(new.value - new.lower, old.upper - old.value, phi)
    above = _square_and_add(new.upper - new.value, old.value - old.lower, phi)
    discordant = only_new + only_baseline
    p_value = float(stats.binomtest(only_new, discordant, 0.5).pvalue) if discordant else 1.0
    return PairedDifference(
        difference, max(difference - below, -1.0), min(difference + above, 1.0), p_value, "mcnemar-exact"
    )


def paired_mean_difference(tables: Sequence[PairTable]) -> PairedDifference | None:
    """Difference of the means of several shares on the same rows; None if any has no rows.

    One share is its own :func:`paired_difference`. Several: the paired bootstrap's interval (pairs are drawn
    within their suite) joined with the combined intervals of the single differences, and as p-value a seeded
    sign-flip permutation test over the discordant rows, which for one share would be McNemar's.
    """
    singles = [single for table in tables if (single := paired_difference(table)) is not None]
    if not tables or len(singles) < len(tables):
        return None
    if len(singles) == 1:
        return singles[0]
    count = len(singles)
    difference = sum(single.difference for single in singles) / count
    below = math.sqrt(sum((single.difference - single.lower) ** 2 for single in singles)) / count
    above = math.sqrt(sum((single.upper - single.difference) ** 2 for single in singles)) / count
    low, high = _paired_bootstrap(tables)
    generator = np.random.default_rng(SEED)
    flipped = np.zeros(PERMUTATION_DRAWS)
    for table in tables:
        discordant = table.only_new + table.only_baseline
        flipped += (
            (2 * generator.binomial(discordant, 0.5, PERMUTATION_DRAWS) - discordant) / table.pairs / count
        )
    extreme = int(np.count_nonzero(np.abs(flipped) >= abs(difference) - 1e-12))
    return PairedDifference(
        difference,
        max(min(difference - below, low), -1.0),
        min(max(difference + above, high), 1.0),
        (extreme + 1) / (PERMUTATION_DRAWS + 1),
        "sign-flip-permutation",
    )


def _paired_bootstrap(tables: Sequence[PairTable]) -> tuple[float, float]:
    """Ends of the percentile bootstrap of the mean difference: pairs are drawn within each suite.

    Drawing n pairs with replacement and counting how they came out is one multinomial draw.
    """
    generator = np.random.default_rng(SEED)
    draws = np.zeros(BOOTSTRAP_DRAWS)
    for table in tables:
        chances = [table.only_new, table.only_baseline, table.both + table.neither]
        drawn = generator.multinomial(table.pairs, np.array(chances) / table.pairs, BOOTSTRAP_DRAWS)
        draws += (drawn[:, 0] - drawn[:, 1]) / table.pairs / len(tables)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def paired_values(new: Sequence[float], baseline: Sequence[float]) -> PairedDifference | None:
    """Difference of two means of values in 0..1 on the same rows; None for no rows.

    Interval: paired bootstrap of the mean difference. Where all differences are the same it has no width, and
    of few pairs too little: then it has at least the one that so many pairs leave to what none of them shows.
    p-value: sign-flip permutation test, exact for few pairs.

    Parameters
    ----------
    new, baseline
        One value of each row, in the same order.
    """
    if len(new) == 0:
        return None
    differences = np.asarray(new, dtype=float) - np.asarray(baseline, dtype=float)
    difference = float(differences.mean())
    spread = float(np.ptp(differences))
    least = unseen(len(differences)) if spread < ROUNDING or len(differences) < FEW_VALUES else 0.0
    low, high = difference - least, difference + least
    p_value = 1.0
    if spread >= ROUNDING:
        batch = max(1, BATCH_NUMBERS // len(differences))
        found = stats.bootstrap(
            (differences,),
            np.mean,
            n_resamples=BOOTSTRAP_DRAWS,
            batch=batch,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(SEED),
        )
        low = min(low, float(found.confidence_interval.low))
        high = max(high, float(found.confidence_interval.high))
    if np.any(np.abs(differences) >= ROUNDING):
        # Swapping the two runs' values of a row is flipping the sign of its difference.
        flipped = stats.permutation_test(
            (differences, np.zeros_like(differences)),
            lambda one, other, axis: (one - other).mean(axis=axis),
            permutation_type="samples",
            n_resamples=VALUE_DRAWS,
            batch=max(1, BATCH_NUMBERS // len(differences)),
            rng=np.random.default_rng(SEED),
        )
        p_value = float(flipped.pvalue)
    return PairedDifference(
        difference,
        max(low, -1.0),
        min(high, 1.0),
        p_value,
        "sign-flip-permutation",
    )


def _correlation(table: PairTable) -> float:
    """Phi of the pairs, with Newcombe's correction; 0 where a margin is empty."""
    both, only_new, only_baseline, neither = table
    margins = (both + only_new) * (only_baseline + neither) * (both + only_baseline) * (only_new + neither)
    if margins == 0:
        return 0.0
    product = both * neither - only_new * only_baseline
    corrected = max(product - table.pairs / 2, 0.0) if product > 0 else float(product)
    return corrected / math.sqrt(margins)


def _square_and_add(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(first**2 - 2 * phi * first * second + second**2, 0.0))
