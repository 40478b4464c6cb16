"""Resources that are older than a rule of their schema: planned as they stand, or told what the rule says."""

import pytest
import yaml
from tests.manifests import wrong_manifests
from tests.unit.planning.examples import finished_finetune, make_blend, make_eval, make_finetune, make_guarded
from tests.unit.planning.world import SETTINGS

from safety_cli.dry_run import DryRun
from safety_operator.planning.dispatch import PLANNERS
from safety_operator.planning.engine.problems import UnmetRuleError


@pytest.mark.parametrize(
    ("make", "spec", "message"),
    [
        (make_eval, {"model": {}}, "spec.model: name exactly one of source, finetuneRef, endpoint and "),
        (make_blend, {"onPolicy": {"model": {}}}, "spec.onPolicy.model: name exactly one of source and "),
        (make_finetune, {"data": {}}, "spec.data: name exactly one of blendRef and uri. Fix the spec."),
        (make_guarded, {"model": {}}, "spec.model: name exactly one of source, finetuneRef and endpoint"),
        (make_blend, {"dedupe": {"near": {"threshold": "0"}}}, "spec.dedupe.near: "),
    ],
)
def test_what_cannot_be_planned_is_told_what_the_api_server_would_say(make, spec, message):
    world = make(**spec)
    world.settle()
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "InvalidSpec")
    assert message in stalled["message"]
    assert not world.children


def test_a_gate_that_names_nothing_lets_nothing_through():
    world = make_guarded(gate={})
    world.refer("SafetyFinetune", "hardened", finished_finetune())
    world.settle()
    assert world.condition("Stalled")["reason"] == "InvalidSpec"
    assert "spec.gate" in world.condition("Stalled")["message"]
    assert world.children == {}


def test_what_can_be_planned_goes_on_as_it_was_accepted():
    world = make_eval(serving={"args": ["--port=1"]})
    world.settle()
    assert world.condition("Stalled")["status"] == "False"
    assert len(world.names("Job")) == 1


def test_every_manifest_that_the_api_server_would_refuse_is_planned_to_its_end(monkeypatch):
    monkeypatch.setattr("safety_cli.dry_run.find_mistakes", lambda _: [])
    for wrong in wrong_manifests():
        resource = yaml.safe_load(wrong.manifest)
        resource["metadata"].setdefault("name", "wrong")
        dry_run = DryRun(SETTINGS)
        assert dry_run.add(resource, "team"), wrong.case
        dry_run.run_to_end()
        (state,) = dry_run.states.values()
        assert {item["type"] for item in state.status["conditions"]} >= {"Ready", "Stalled"}, wrong.case


@pytest.mark.parametrize("spec", [{}, {"model": {}}], ids=["right spec", "spec that breaks a rule"])
def test_a_bug_of_a_planner_is_not_taken_for_a_mistake_in_the_spec(monkeypatch, spec):
    def fail(*_):
        raise KeyError("a bug")

    monkeypatch.setitem(PLANNERS, "SafetyEval", PLANNERS["SafetyEval"]._replace(plan=fail))
    with pytest.raises(KeyError, match="a bug"):
        make_eval(**spec).settle()


def test_a_broken_promise_that_no_rule_makes_is_a_bug(monkeypatch):
    def fail(*_):
        raise UnmetRuleError("spec.model")

    monkeypatch.setitem(PLANNERS, "SafetyEval", PLANNERS["SafetyEval"]._replace(plan=fail))
    with pytest.raises(UnmetRuleError):
        make_eval().settle()
