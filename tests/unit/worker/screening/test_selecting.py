"""Which rows are taken, given their scores; and what form answers have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_records.screening import ScreenSelection
from safety_worker.screening.anchors import PRESETS
from safety_worker.screening.forms import is_list, is_maths
from safety_worker.screening.selecting import ScoreOf, select


def scores(*values: float | None) -> dict[str, ScoreOf]:
    return {f"retain/{n:03d}": ScoreOf(value, None, "") for n, value in enumerate(values)}


def wanted(**fields: object) -> ScreenSelection:
    return ScreenSelection.model_validate({"method": "representation", **fields})


def test_the_share_is_of_the_scored_rows_and_takes_the_highest() -> None:
    found = select(scores(0.1, 0.9, None, 0.5, 0.3), wanted(top_fraction=0.5))
    assert found.rows == {"retain/001", "retain/003"}
    assert found.unscored == {"retain/002"}
    assert found.cut == 0.5


def test_the_threshold_takes_equal_scores_and_may_take_none() -> None:
    assert len(select(scores(0.1, 0.5, 0.5), wanted(threshold=0.5)).rows) == 2
    assert select(scores(0.1), wanted(threshold=0.5)) == (frozenset(), frozenset(), None)
    assert len(select(scores(-0.3, -0.1), wanted(threshold=-0.2)).rows) == 1


@given(
    st.lists(st.none() | st.floats(-1, 1, allow_nan=False), max_size=60),
    st.floats(0.01, 0.99),
    st.integers(0, 2**31 - 1),
)
def test_the_control_has_the_same_size_and_does_not_look_at_scores(
    values: list[float | None], fraction: float, seed: int
) -> None:
    top = select(scores(*values), wanted(top_fraction=fraction))
    random = select(scores(*values), wanted(top_fraction=fraction, select="random", seed=seed))
    assert len(top.rows) == len(random.rows)
    assert top.unscored == random.unscored
    assert random.cut is None
    turned = select(
        scores(*(None if v is None else -v for v in values)),
        wanted(top_fraction=fraction, select="random", seed=seed),
    )
    assert turned.rows == random.rows


def test_another_seed_draws_other_rows() -> None:
    many = scores(*[0.5] * 200)
    draws = {select(many, wanted(top_fraction=0.1, select="random", seed=seed)).rows for seed in range(20)}
    assert len(draws) == 20


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("- one\n- two", True),
        ("Steps:\n1. one\n2) two", True),
        ("* one", False),
        ("It is 3. That is all.", False),
        ("a) one\nb) two", True),
        ("\u0430) \u0440\u0430\u0437\n\u0431) \u0434\u0432\u0430", True),
        ("\u0967. \u090f\u0915\n\u0968. \u0926\u094b", True),
        ("\u4e00\u3001\u6253\u5f00\n\u4e8c\u3001\u5173\u4e0a", True),
        ("\u2460\u6253\u5f00\n\u2461\u5173\u4e0a", True),
        ("1\uff0e\u6253\u5f00\n2\uff0e\u5173\u4e0a", True),
        ("\u4e2d\u56fd\u3001\u65e5\u672c\n\u4e0a\u6d77\u3001\u5317\u4eac", False),
        ("\n" * 100_000, False),
        ("-" * 100_000, False),
    ],
)
def test_what_counts_as_a_list(answer: str, expected: bool) -> None:
    assert is_list(answer) is expected


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        ("What is it?", "48/2 = 24 clips", True),
        ("What is it?", "She has <<4*2=8>>8.\n#### 8", True),
        ("Simplify \\frac{1}{2}", "no", True),
        ("What is it?", "It opened in 1990-1995 and cost 3 dollars.", False),
        ("If x = 3 + 2", "five", True),
        ("1" * 100_000, " " * 100_000, False),
        ("1 " * 50_000, "= " * 50_000, False),
    ],
)
def test_what_counts_as_mathematics(prompt: str, answer: str, expected: bool) -> None:
    assert is_maths(prompt, answer) is expected


def test_presets_are_pairs_of_one_harmful_and_two_safe_sets() -> None:
    harmful = {name for name in PRESETS if not name.endswith(("-refused", "-explained"))}
    assert set(PRESETS) == harmful | {
        f"{name}-{kind}" for name in harmful for kind in ("refused", "explained")
    }
    for name in harmful:
        assert len({PRESETS[name][0], PRESETS[f"{name}-refused"][0], PRESETS[f"{name}-explained"][0]}) == 1
