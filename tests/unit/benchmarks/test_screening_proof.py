"""The numbers of the screening proof."""

import pytest
from tests.benchmarks.screening_proof.measure import Scored, auc, detection, detection_table, exam_table

HIT, MISS = True, False


@pytest.mark.parametrize(
    ("ranked", "wanted"),
    [
        ([HIT, HIT, MISS, MISS], 1.0),
        ([MISS, MISS, HIT, HIT], 0.0),
        ([HIT, MISS, HIT, MISS], 0.75),
        ([MISS, HIT, HIT, MISS], 0.5),
    ],
)
def test_the_auc_is_the_chance_that_a_hidden_row_comes_first(ranked: list[bool], wanted: float) -> None:
    assert auc(ranked) == wanted


def test_precision_is_taken_among_as_many_rows_as_are_hidden() -> None:
    found = detection(Scored([HIT, MISS, HIT, HIT] + [MISS] * 36, unscored=2))
    assert (found["found"], found["hidden"], found["rows"], found["unscored"]) == (2, 3, 40, 2)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["lower"] < 2 / 3 < found["upper"]
    assert found["byChance"] == pytest.approx(3 / 40)
    assert found["first"] == pytest.approx(3 / 20)


def test_tables_show_each_method_and_model() -> None:
    rows = {"gradient, own": detection(Scored([HIT, MISS], 0))}
    assert "| gradient, own | 1 of 1 | 100.0 % [20.7, 100.0] | 50.0 % | 50.0 % | 1.000 |" in detection_table(
        rows
    )
    score = {"value": 0.25, "lower": 0.2, "upper": 0.3, "samples": 160}
    paired = {"difference": -0.1, "lower": -0.2, "upper": 0.0, "p_value": 0.04, "pairs": 160}
    exams = {"random": {"harmbench": score | {"paired": paired}, "over-refusal": score, "hidden": 40}}
    wanted = "| random | 40 | 25.0 % [20.0, 30.0] | -10.0 [-20.0, +0.0], p = 0.04 | 25.0 % [20.0, 30.0] |"
    assert wanted in exam_table(exams)
