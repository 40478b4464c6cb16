"""Statuses that another version, or a person, has written."""

from hypothesis import given
from hypothesis import strategies as st

from safety_operator.api.eval_status import SafetyEvalStatus
from safety_operator.api.kinds import KINDS
from safety_operator.state.status import read_status

SCALARS = st.none() | st.booleans() | st.integers(-5, 99) | st.text(max_size=8)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["state", "stages", "conditions", "progress", "output", "served", "scores", "other"])


def test_what_does_not_fit_is_left_out_and_the_rest_stays():
    found = read_status(
        SafetyEvalStatus,
        {
            "state": "Succeeded",
            "fieldOfAnotherVersion": 1,
            "progress": {"text": "done", "percent": 1000},
            "target": {"uri": "hf://a/b", "digest": ["none"]},
        },
    )
    assert found.state == "Succeeded"
    assert found.progress is not None
    assert found.progress.text == "done"
    assert found.target is not None
    assert (found.target.uri, found.target.digest) == ("hf://a/b", "")


def test_an_entry_that_lacks_what_it_must_have_goes_and_its_neighbours_stay():
    stages = [{"name": "a", "state": "Succeeded"}, {"state": "Running"}, {"name": "c", "state": "Resting"}]
    found = read_status(SafetyEvalStatus, {"stages": [*stages, {"name": "d", "state": "Failed", "job": 7}]})
    assert [(stage.name, stage.state, stage.job) for stage in found.stages] == [
        ("a", "Succeeded", ""),
        ("d", "Failed", ""),
    ]


def test_fields_of_a_newer_version_cost_no_finished_stage():
    record = {"stage": "score", "inputsHash": "h", "newField": 1, "output": None}
    stages = [
        {"name": f"s{number}", "state": "Succeeded", "hash": "h", "result": record, "newField": {"a": 1}}
        for number in range(40)
    ]
    found = read_status(SafetyEvalStatus, {"stages": stages})
    assert [stage.name for stage in found.stages] == [stage["name"] for stage in stages]
    assert all(stage.record is not None for stage in found.stages)


def test_of_a_status_with_many_mistakes_only_whole_fields_are_left():
    stages = [{"state": "Running"}] * 40
    found = read_status(SafetyEvalStatus, {"state": "Running", "stages": stages})
    assert (found.state, found.stages) == ("Running", [])


@given(st.sampled_from(KINDS), JSON | st.dictionaries(FIELDS, JSON))
def test_anything_is_read_as_a_status(kind, value):
    assert isinstance(read_status(kind.status, value), kind.status)
