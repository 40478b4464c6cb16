"""Curves show what was measured: round numbers at the edges, no lost spike, nothing outside of the frame."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.support.finetunes import metrics

from safety_worker.training_report.plots import (
    BOTTOM,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    draw_plots,
    nice_numbers,
    number_texts,
    points_of,
    scientific,
)

NUMBERS = re.compile(r"-?\d+\.\d")


def places(path: str) -> list[tuple[float, float]]:
    numbers = [float(number) for number in NUMBERS.findall(path)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_training_and_validation_loss_are_in_one_plot_and_each_other_number_in_its_own() -> None:
    plots = draw_plots(metrics(60))
    titles = ["Loss", "Learning rate", "Gradient norm", "Tokens per second", "GPU memory"]
    assert [plot.title for plot in plots] == [*titles, "Model FLOPs utilization"]
    assert [curve.name for curve in plots[0].curves] == ["training", "validation"]
    assert plots[0].words.startswith("Training: 2.")
    assert "Validation: " in plots[0].words


def test_what_was_not_measured_has_no_plot() -> None:
    assert [plot.title for plot in draw_plots([{"step": 1, "loss": 1.0}])] == ["Loss"]
    assert draw_plots([]) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "1"])
def test_what_is_no_number_is_no_point(value: object) -> None:
    found = points_of([{"step": 1, "loss": value}, {"step": 2, "loss": 0.5}], "loss")
    assert found == [(2, 0.5)]


def test_of_a_step_that_was_made_twice_the_last_one_counts() -> None:
    lines = [{"step": 2, "loss": 2.0}, {"step": 1, "loss": 3.0}, {"step": 2, "loss": 1.0}]
    assert points_of(lines, "loss") == [(1, 3.0), (2, 1.0)]


def test_a_spike_among_many_steps_is_in_the_band() -> None:
    lines = [{"step": step, "loss": 50.0 if step == 7_777 else 1.0} for step in range(1, 20_001)]
    (plot,) = draw_plots(lines)
    (curve,) = plot.curves
    assert len(places(curve.path)) <= MOST_POINTS
    highest = min(y for _, y in places(curve.band))
    assert highest == pytest.approx(plot.y_ticks[-1].at, abs=(BOTTOM - TOP) / 2)
    assert min(y for _, y in places(curve.path)) > highest + 10
    assert "highest 50 at step 7,777" in plot.words


@given(
    values=st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=30),
    first=st.integers(0, 10**9),
    many=st.integers(1, 40),
)
def test_curves_stay_in_their_frame(values: list[float], first: int, many: int) -> None:
    lines = [{"step": first + n, "loss": value} for n, value in enumerate(values * many)]
    (plot,) = draw_plots(lines)
    for curve in plot.curves:
        for x, y in [*places(curve.path), *places(curve.band), *(dot[:2] for dot in curve.dots)]:
            assert LEFT - 0.1 <= x <= RIGHT + 0.1
            assert TOP - 0.1 <= y <= BOTTOM + 0.1
    texts = [tick.text for tick in plot.y_ticks]
    assert len(set(texts)) == len(texts) >= 2


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.0, 2.3, ["0", "1", "2", "3"]),
        (0.0, 2.0, ["0.0", "0.5", "1.0", "1.5", "2.0"]),
        (0.0, 41_000, ["0", "20,000", "40,000", "60,000"]),
        (0.0, 1e-4, ["0", "2.5e-5", "5e-5", "7.5e-5", "1e-4"]),
        (0.41, 0.44, ["0.41", "0.42", "0.43", "0.44"]),
        (3.0, 3.0, ["1", "2", "3", "4", "5"]),
        (0.0, 0.0, ["0.00", "0.25", "0.50", "0.75", "1.00"]),
    ],
)
def test_numbers_at_the_edge_are_round(low: float, high: float, texts: list[str]) -> None:
    assert number_texts(nice_numbers(low, high)) == texts


@pytest.mark.parametrize(("number", "text"), [(5e-7, "5e-7"), (1e-4, "1e-4"), (0, "0"), (1.25e7, "1.25e7")])
def test_small_and_large_numbers_are_short(number: float, text: str) -> None:
    assert scientific(number) == text


def test_the_step_of_the_model_is_marked_where_it_is_not_the_last_one() -> None:
    plots = draw_plots(metrics(60), best_step=40)
    assert all(plot.mark is not None and LEFT < plot.mark < RIGHT for plot in plots)
    assert draw_plots(metrics(60))[0].mark is None
