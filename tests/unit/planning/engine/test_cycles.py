"""Resources that wait for each other are told so before anything starts."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.planning.examples import (
    SOURCE,
    finished_blend,
    make_blend,
    make_eval,
    make_finetune,
    make_guarded,
)
from tests.unit.planning.guarded_deployment.guarded import deployment, make_serving
from tests.unit.planning.world import World, ready_conditions

from safety_operator.planning.engine.cycles import explain_cycle, find_cycle
from safety_operator.state.keys import Key


def blend_of(model: str) -> dict[str, Any]:
    return make_blend(onPolicy={"model": {"finetuneRef": {"name": model}}}).resource


def evaluation_of(**spec: Any) -> dict[str, Any]:
    return make_eval(**spec).resource


def is_told(world: World) -> str:
    world.settle()
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ReferenceCycle")
    assert world.condition("Ready")["status"] == "False"
    assert world.children == {}
    return str(stalled["message"])


def test_training_data_from_the_model_that_they_are_to_train():
    world = make_finetune()
    world.refer("SafetyBlend", "blend", blend_of("hardened"))
    message = is_told(world)
    assert (
        "SafetyFinetune hardened waits for SafetyBlend blend, which waits for SafetyFinetune hard" in message
    )
    assert "Take one of these references away" in message


def test_a_gate_whose_evaluation_asks_the_guarded_model_itself():
    world = make_guarded()
    through = {"guardedDeploymentRef": {"name": "assistant"}}
    world.refer("SafetyEval", "hardened", evaluation_of(model=through))
    message = is_told(world)
    assert "GuardedDeployment assistant waits for SafetyEval hardened" in message
    assert "Evaluate the model itself for the gate" in message


@pytest.mark.parametrize("name", ["hardened", "base"])
def test_a_model_that_is_fine_tuned_from_itself(name: str):
    world = make_finetune(model={"finetuneRef": {"name": name}})
    world.resource["metadata"]["name"] = name
    assert is_told(world) == f"SafetyFinetune {name} waits for itself. Name another resource in its spec."


def test_a_way_of_four_resources_through_three_kinds():
    world = make_eval(model={"guardedDeploymentRef": {"name": "assistant"}}, security=None, accuracy=[])
    world.refer("GuardedDeployment", "assistant", make_guarded(gate={"evalRefs": [{"name": "raw"}]}).resource)
    world.refer("SafetyEval", "raw", evaluation_of(baselineRef={"name": "older"}))
    world.refer("SafetyEval", "older", evaluation_of(baselineRef={"name": "base"}))
    message = is_told(world)
    assert [message.index(f" {name}") for name in ("assistant", "raw", "older")] == sorted(
        message.index(f" {name}") for name in ("assistant", "raw", "older")
    )


def test_it_goes_on_by_itself_when_the_way_is_broken():
    world = make_finetune()
    world.refer("SafetyBlend", "blend", blend_of("hardened"))
    is_told(world)
    world.refer("SafetyBlend", "blend", make_blend().resource)
    world.settle()
    assert world.condition("Stalled")["status"] == "False"
    assert world.status["state"] == "Running"
    assert world.names("Job") != []


def test_who_only_waits_for_a_cycle_waits_and_says_for_whom():
    world = make_finetune()
    blend = blend_of("other")
    told = "SafetyBlend blend waits for SafetyFinetune other"
    blend["status"] = {"state": "Stalled", "progress": {"text": told}}
    world.refer("SafetyBlend", "blend", blend)
    world.refer("SafetyFinetune", "other", make_finetune().resource)
    world.settle()
    assert world.condition("Stalled")["status"] == "False"


def test_what_is_finished_for_its_spec_stays_when_another_closes_the_way():
    world = make_finetune()
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    world.succeed("train", output="product")
    world.settle()
    world.refer("SafetyBlend", "blend", blend_of("hardened"))
    world.settle()
    assert world.condition("Ready")["status"] == "True"


def test_a_model_that_is_served_is_not_taken_away_for_a_cycle():
    world = make_serving()
    through = evaluation_of(model={"guardedDeploymentRef": {"name": "assistant"}})
    through["status"] = {"conditions": ready_conditions(1)}
    world.refer("SafetyEval", "hardened", through)
    world.settle()
    assert deployment(world, "model")["spec"]["replicas"] == 1
    assert "through its rails" in world.condition("GatePassed")["message"]


def test_two_resources_that_refer_to_the_same_one_are_no_cycle():
    world = make_blend(
        onPolicy={"model": {"finetuneRef": {"name": "hardened"}}},
    )
    world.refer(
        "SafetyFinetune", "hardened", make_finetune(model=SOURCE, data={"uri": "hf://a/b/c"}).resource
    )
    world.settle()
    assert world.condition("Stalled")["status"] == "False"


KEYS = [Key("SafetyEval", "team", name) for name in "abcdef"]


@given(st.dictionaries(st.sampled_from(KEYS), st.frozensets(st.sampled_from(KEYS), max_size=4)))
def test_every_way_that_is_found_is_one_and_none_is_missed(graph: dict[Key, frozenset[Key]]):
    reached, rest = set(), set(graph.get(KEYS[0], ()))
    while rest:
        key = rest.pop()
        reached.add(key)
        rest |= graph.get(key, frozenset()) - reached
    found = find_cycle(KEYS[0], lambda key: graph.get(key, ()))
    assert bool(found) == (KEYS[0] in reached)
    assert all(after in graph[before] for before, after in pairwise(found))
    if found:
        assert found[0] == found[-1] == KEYS[0]
        assert len(set(found)) == len(found) - 1
        assert explain_cycle(found)
