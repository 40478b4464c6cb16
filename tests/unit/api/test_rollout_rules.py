"""Weights of a rollout rise from step to step, however many there are."""

import pytest

from safety_operator.api.guarded_rollout import WEIGHTS_RISE
from safety_operator.schema.cel import evaluate

TEN = list(range(10, 20))


@pytest.mark.parametrize("weights", [[], [99], [10, 50], TEN])
def test_weights_that_rise_are_taken(weights: list[int]):
    assert evaluate(WEIGHTS_RISE[0], {"weights": weights}) is True


@pytest.mark.parametrize(
    "weights",
    [[10, 10], [50, 10], [1, 9, 5], *([*TEN[:at], TEN[at - 1], *TEN[at + 1 :]] for at in range(1, 10))],
)
def test_weights_that_fall_or_stay_are_refused(weights: list[int]):
    assert evaluate(WEIGHTS_RISE[0], {"weights": weights}) is False
