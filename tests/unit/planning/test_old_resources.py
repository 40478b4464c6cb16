"""Resources that are older than a rule of their schema: planned as they stand, or told what the rule says."""

import pytest
from tests.unit.planning.examples import make_blend, make_eval, make_finetune, make_guarded

from safety_operator.planning.dispatch import PLANNERS


@pytest.mark.parametrize(
    ("make", "spec", "message"),
    [
        (make_eval, {"model": {}}, "spec.model: name exactly one of source, finetuneRef, endpoint and "),
        (make_blend, {"onPolicy": {"model": {}}}, "spec.onPolicy.model: name exactly one of source and "),
        (make_finetune, {"data": {}}, "spec.data: name exactly one of blendRef and uri. Fix the spec."),
        (make_guarded, {"model": {}}, "spec.model: name exactly one of source and finetuneRef"),
    ],
)
def test_what_cannot_be_planned_is_told_what_the_api_server_would_say(make, spec, message):
    world = make(**spec)
    world.settle()
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "InvalidSpec")
    assert message in stalled["message"]
    assert not world.children


def test_what_can_be_planned_goes_on_as_it_was_accepted():
    world = make_eval(serving={"args": ["--port=1"]})
    world.settle()
    assert world.condition("Stalled")["status"] == "False"
    assert len(world.names("Job")) == 1


def test_a_bug_of_a_planner_is_not_taken_for_a_mistake_in_the_spec(monkeypatch):
    def fail(*_):
        raise KeyError("a bug")

    monkeypatch.setitem(PLANNERS, "SafetyEval", PLANNERS["SafetyEval"]._replace(plan=fail))
    with pytest.raises(KeyError, match="a bug"):
        make_eval().settle()
