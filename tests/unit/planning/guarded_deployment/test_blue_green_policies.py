"""Strategy BlueGreen: whom the pods of each version reach, and who reaches them."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planning.guarded_deployment.blue_green import (
    BAD,
    BLUE_GREEN,
    RAILS_POLICY,
    STRICTER,
    deployments,
    finish,
    make_updated,
    new_model,
    prove_new,
    serve_new,
    settle_with_lost_statuses,
    track,
)
from tests.unit.planning.guarded_deployment.guarded import GOOD, make_serving
from tests.unit.planning.world import World

from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import LABEL_INSTANCE, LABEL_PROBE_OF

OUTSIDE = {"contentSafety": {"model": {"endpoint": {"url": "https://guard.example/v1", "model": "g"}}}}
NEW = ObjectKey("NetworkPolicy", f"{RAILS_POLICY.name}-green")
ANYBODY = {"ports": [{"protocol": "TCP", "port": 8000}]}


def policy(world: World, key: ObjectKey) -> Any:
    return world.children[key]["spec"]


def make_reaching_out() -> World:
    """A new version asks a guard outside of the cluster, which the one that serves does not."""
    world = make_serving(rollout=BLUE_GREEN)
    world.edit(guardrails=OUTSIDE)
    world.settle()
    return world


def test_each_version_reaches_what_it_needs_and_no_more():
    world = make_reaching_out()
    assert {} in policy(world, NEW)["egress"]
    assert {} not in policy(world, RAILS_POLICY)["egress"]
    selected = policy(world, NEW)["podSelector"]["matchLabels"][LABEL_INSTANCE]
    assert selected in deployments(world, "guardrails")
    assert selected != policy(world, RAILS_POLICY)["podSelector"]["matchLabels"][LABEL_INSTANCE]


@pytest.mark.parametrize("crashing", [False, True])
def test_what_only_a_failed_version_reached_ends_with_its_last_pod(crashing: bool):
    world = make_reaching_out()
    serve_new(world)
    rails = deployments(world, "guardrails")[-1]
    world.with_pods = frozenset({rails})
    world.succeed("prove-candidate", proof=BAD)
    world.settle()
    assert rails not in deployments(world, "guardrails")
    assert {} in policy(world, NEW)["egress"], "its pod ends what it began"
    world.with_pods = frozenset()
    settle_with_lost_statuses(world) if crashing else world.settle()
    assert [key.name for key in world.children if key.name.endswith("-green")] == []


def test_the_version_that_serves_reaches_what_it_needs_until_its_last_pod_is_gone():
    world = make_reaching_out()
    prove_new(world)
    finish(world)
    (old,) = deployments(world, "guardrails")
    world.edit(guardrails=STRICTER)
    world.settle()
    assert {} in policy(world, NEW)["egress"]
    prove_new(world)
    world.with_pods = frozenset({old})
    finish(world)
    assert {} in policy(world, NEW)["egress"]
    world.with_pods = frozenset()
    world.settle()
    assert NEW not in world.children
    assert {} not in policy(world, RAILS_POLICY)["egress"]


def test_guardrails_go_before_what_they_ask_and_policies_when_no_server_is_left_that_could_start_a_pod():
    world = make_updated()
    serve_new(world)
    world.succeed("prove-candidate", proof=BAD)
    for _ in range(8):
        made = world.plan()
        gone = [key for key in made.delete if key.kind in {"Deployment", "NetworkPolicy"}]
        assert len({key.kind for key in gone}) < 2
        rails = [key for key in gone if key.kind == "Deployment" and "-guardrails-" in key.name]
        assert gone == rails or not rails
        world.carry_out(made)
        world.wait(1)
    assert NEW not in world.children


def test_a_model_that_ends_keeps_its_policy_until_it_is_gone():
    world = make_updated()
    prove_new(world)
    world.with_pods = frozenset({deployments(world, "model")[0]})
    finish(world)
    assert len(deployments(world, "model")) == 1
    assert ObjectKey("NetworkPolicy", "assistant-guardeddeployment-model") in world.children


def test_a_rule_that_somebody_added_by_hand_is_taken_away_while_another_version_is_there_or_failed():
    world = make_updated()
    for _ in range(2):
        before = copy.deepcopy(policy(world, RAILS_POLICY))
        policy(world, RAILS_POLICY)["egress"].append({"ports": [{"protocol": "TCP", "port": 22}]})
        policy(world, RAILS_POLICY)["ingress"].append({"ports": [{"protocol": "TCP", "port": 22}]})
        world.settle()
        assert policy(world, RAILS_POLICY) == before
        if deployments(world, "model")[1:]:
            prove_new(world, BAD)


def test_a_version_that_is_not_proven_answers_its_proof_only():
    world = make_updated()
    serve_new(world)
    assert policy(world, RAILS_POLICY)["ingress"][0] == ANYBODY
    (rule, *_) = policy(world, NEW)["ingress"]
    assert ANYBODY not in policy(world, NEW)["ingress"]
    (job,) = (c for k, c in world.children.items() if k.kind == "Job" and "prove-candidate" in k.name)
    (asker, *others) = rule["from"]
    assert (
        asker["podSelector"]["matchLabels"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    )
    assert all(LABEL_PROBE_OF in item["podSelector"]["matchLabels"] for item in others)


def test_the_probe_from_another_namespace_reaches_it_too_and_nobody_else_of_there():
    world = make_serving(rollout=BLUE_GREEN)
    world.settings = replace(world.settings, probe_namespace="system")
    new_model(world, "newer")
    (_, outside) = policy(world, NEW)["ingress"][0]["from"]
    assert outside["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "system"}
    (label,) = outside["podSelector"]["matchLabels"].items()
    serve_new(world)
    probe = world.plan().outside
    assert probe is not None
    assert label[0] == LABEL_PROBE_OF
    assert label in probe["spec"]["template"]["metadata"]["labels"].items()


def test_what_comes_up_next_to_the_one_that_serves_keeps_no_ways_of_an_earlier_try():
    world = make_reaching_out()
    world.edit(guardrails=STRICTER)
    world.settle()
    assert {} not in policy(world, NEW)["egress"]


def test_it_is_open_to_all_for_some_seconds_before_any_request_is_led_there():
    world = make_updated()
    serve_new(world)
    world.succeed("prove-candidate", proof=GOOD)
    world.settle()
    assert policy(world, NEW)["ingress"][0] == ANYBODY
    assert track(world) == "blue"
    world.wait(4)
    world.settle()
    assert track(world) == "blue"
    world.wait(1)
    world.settle()
    assert track(world) == "green"


def test_a_policy_that_was_not_written_holds_the_requests_back():
    world = make_updated()
    serve_new(world)
    narrow = copy.deepcopy(world.children[NEW])
    world.succeed("prove-candidate", proof=GOOD)
    world.settle()
    world.wait(60)
    world.children[NEW] = narrow
    world.carry_out(world.plan())
    assert track(world) == "blue"
    world.carry_out(world.plan())
    assert track(world) == "green"
