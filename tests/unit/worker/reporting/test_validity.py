"""When a suite that was judged has no score all the same."""

import pytest

from safety_records.data import Dataset
from safety_records.eval_stages import EvalSuite
from safety_worker.reporting.samples import Sample
from safety_worker.reporting.validity import find_missing_reason


def reasons(unreadable: int, total: int, allowed: float) -> dict[str, str]:
    suite = EvalSuite(name="s", dataset=Dataset(uri="u"), judge="j", max_unparsed=allowed)
    rows = [
        Sample("s", f"d{n}", [], n >= unreadable, n < unreadable, False, False, "", "j", "h", 1)
        for n in range(total)
    ]
    return find_missing_reason([suite], {"s": rows}, [])


@pytest.mark.parametrize(
    ("unreadable", "total", "allowed"), [(0, 0, 0.0), (0, 5, 0.0), (29, 100, 0.29), (58, 100, 0.58)]
)
def test_as_many_unreadable_verdicts_as_are_allowed_leave_a_score(
    unreadable: int, total: int, allowed: float
) -> None:
    """0.29 times 100 is less than 29 as computers reckon."""
    assert reasons(unreadable, total, allowed) == {}


def test_more_unreadable_verdicts_than_are_allowed_leave_none() -> None:
    assert reasons(30, 100, 0.29) == {
        "s": "30 of 100 verdicts of judge j could not be read, maxUnparsed is 0.29"
    }
