"""The time that is left: from what was seen, of this stage, and nothing where nothing can be said."""

import pytest
from tests.unit.cli.support import render_lines, with_scores

from safety_cli.eta import Eta, rough
from safety_cli.watch import build_screen


def at(done, total=160, stage="generate"):
    found = with_scores("base", [])
    found["status"]["progress"] = {"stage": stage, "done": done, "total": total}
    return found


def left_after(*looks):
    """Seconds left after looks, each (time, resource)."""
    eta = Eta()
    for now, resource in looks:
        eta.note([resource], now)
    return eta.seconds_left(looks[-1][1])


def test_it_goes_on_as_it_went():
    assert left_after((0, at(10)), (20, at(30)), (40, at(50))) == pytest.approx(110)


def test_a_pause_between_two_results_does_not_count_as_their_pace():
    """Time is taken from result to result; looks in between that saw nothing new change nothing."""
    assert left_after((0, at(10)), (20, at(30)), (22, at(30)), (24, at(30))) == pytest.approx(130)


@pytest.mark.parametrize(
    "looks",
    [
        [(0, at(10))],
        [(0, at(10)), (60, at(10))],
        [(0, at(10)), (5, at(20))],
        [(0, at(10)), (60, at(160))],
        [(0, at(10)), (60, at(20, stage="judge"))],
        [(0, at(10)), (60, at(20, total=200))],
        [(0, at(100)), (60, at(20))],
        [(0, at(1, total=0)), (60, at(2, total=0))],
        [(0, with_scores("base", [])), (60, with_scores("base", []))],
    ],
)
def test_nothing_is_said_where_nothing_is_known(looks):
    assert left_after(*looks) is None


def test_only_the_last_minutes_count():
    slow = [(float(second), at(10 + second // 100)) for second in range(0, 1000, 100)]
    fast = [(1000.0 + second, at(20 + second)) for second in range(0, 60, 10)]
    # From 750 s on: 18 units done at 800 s, 70 at 1050 s.
    assert left_after(*slow, *fast) == pytest.approx((160 - 70) * 250 / (70 - 18))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(1, "5 s"), (43, "45 s"), (119, "120 s"), (150, "2 min"), (7100, "118 min"), (9000, "2 h")],
)
def test_words_are_as_rough_as_the_estimate(seconds, said):
    assert rough(seconds) == said


def test_the_bars_of_a_terminal_say_it():
    eta = Eta()
    for now, resource in ((0, at(10)), (20, at(30)), (40, at(50))):
        eta.note([resource], now)
    resource = at(50)
    resource["status"]["state"] = "Running"
    resource["status"]["progress"]["text"] = "generate: 50/160 rows"
    for width in (60, 120):
        lines = render_lines(build_screen([resource], width, 40, everywhere=False, eta=eta), width)
        assert "generate: 50/160 rows (about 110 s left of generate)"[: width - 10] in "\n".join(lines)
