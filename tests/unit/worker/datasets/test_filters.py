"""Filters on the columns of a source."""

import pytest

from safety_records.data import RowFilter
from safety_worker.datasets.filters import why_left_out

RECORD = {
    "risk": " Information Hazards ",
    "tags": ["A", "b", None],
    "score": 0.25,
    "stars": "4",
    "flag": True,
    "none": None,
    "count": 3.0,
}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"column": "risk", "any_of": ("information hazards", "x")}, ""),
        ({"column": "risk", "any_of": ("x", "y")}, "risk is none of x, y"),
        ({"column": "risk", "none_of": ("INFORMATION HAZARDS",)}, "risk is one of INFORMATION HAZARDS"),
        ({"column": "tags", "any_of": ("B",)}, ""),
        ({"column": "tags", "none_of": ("a",)}, "tags is one of a"),
        ({"column": "flag", "any_of": ("true",)}, ""),
        ({"column": "count", "any_of": ("3",)}, ""),
        ({"column": "none", "any_of": ("None",)}, "none is none of None"),
        ({"column": "none", "none_of": ("None",)}, ""),
        ({"column": "absent", "any_of": ("x",)}, "absent is none of x"),
        ({"column": "score", "at_least": 0.25, "at_most": 0.25}, ""),
        ({"column": "score", "at_least": 0.3}, "score is below 0.3"),
        ({"column": "stars", "at_most": 3.0}, "stars is above 3"),
        ({"column": "stars", "at_least": -1.0, "any_of": ("4",)}, ""),
        ({"column": "risk", "at_least": 0.0}, "risk is no number"),
        ({"column": "flag", "at_least": 0.0}, "flag is no number"),
        ({"column": "none", "at_least": 0.0}, "none is no number"),
    ],
)
def test_a_filter_says_why_a_record_is_left_out(fields: dict, why: str) -> None:
    assert why_left_out(RECORD, [RowFilter(**fields)]) == why


@pytest.mark.parametrize("cell", ["nan", float("nan"), "x" * 10_000, 10**400, [1], {"a": 1}])
def test_what_is_no_number_passes_no_bound(cell: object) -> None:
    assert why_left_out({"n": cell}, [RowFilter(column="n", at_least=0.0)]) == "n is no number"


def test_every_filter_must_be_passed() -> None:
    filters = [RowFilter(column="stars", at_least=1.0), RowFilter(column="risk", any_of=("other",))]
    assert why_left_out(RECORD, filters) == "risk is none of other"
    assert why_left_out(RECORD, []) == ""
