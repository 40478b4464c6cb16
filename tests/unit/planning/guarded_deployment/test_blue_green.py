"""Strategy BlueGreen: a new version comes up next to the old one, is proven, takes the requests, or goes."""

import json

import pytest
from tests.unit.planning.examples import finished_eval
from tests.unit.planning.guarded_deployment.blue_green import (
    BAD,
    BLUE_GREEN,
    STRICTER,
    deployments,
    finish,
    first,
    make_updated,
    new_model,
    promoted,
    prove_new,
    quota,
    serve_new,
    track,
)
from tests.unit.planning.guarded_deployment.guarded import GOOD, make_serving
from tests.unit.planning.world import World, digest_of

from safety_operator.state.keys import ObjectKey


def test_a_new_model_comes_up_next_to_the_old_one_which_keeps_all_requests():
    world = make_updated()
    assert len(deployments(world, "model")) == 2
    assert track(world) == "blue"
    assert world.status["served"]["modelDigest"] == digest_of("product")
    assert world.condition("RailsProven")["status"] == "True"
    assert world.condition("Available")["status"] == "True"
    status, reason, message = promoted(world)
    assert (status, reason) == ("Unknown", "RollingOut")
    assert "waiting for the model server (0/1 pods)" in message
    assert f"{digest_of('product')} serves on (track blue)" in message


def test_it_is_proved_at_a_service_of_its_own_before_anything_leads_to_it():
    world = make_updated()
    serve_new(world)
    assert track(world) == "blue"
    asked = json.loads(world.specification("prove-candidate"))["guarded"]["baseUrl"]
    assert asked.startswith("http://assistant-preview-")
    assert "gets requests when its proof is good" in promoted(world)[2]


def test_a_good_proof_switches_the_service_and_the_conditions_stay_true():
    world = make_updated()
    prove_new(world)
    assert track(world) == "green"
    assert world.status["served"]["modelDigest"] == digest_of("newer")
    for kind in ("Ready", "RailsProven", "BypassClosed", "Available", "Promoted"):
        assert world.condition(kind)["status"] == "True", kind
    assert "kept until a proof at the endpoint is good" in promoted(world)[2]
    assert world.status["rollout"]["live"]["track"] == "green"
    assert [item["modelDigest"] for item in world.status["revisions"]] == [
        digest_of("newer"),
        digest_of("product"),
    ]


def test_the_old_pods_stay_until_the_endpoint_is_proved_and_half_a_minute_is_over():
    world = make_updated()
    prove_new(world)
    world.wait(31)
    world.settle()
    assert len(deployments(world, "model")) == 2, "no proof at the endpoint yet"
    world.succeed("prove", proof=GOOD)
    world.settle()
    assert len(deployments(world, "model")) == 1
    assert "previous" not in {k: v for k, v in world.status["rollout"].items() if v}


def test_a_proof_that_is_good_at_once_leaves_old_pods_their_half_minute_and_then_the_operator_looks():
    world = make_updated(proof={"every": "1d"})
    prove_new(world)
    world.wait(5)
    world.settle()
    world.succeed("prove", proof=GOOD)
    world.settle()
    world.wait(20)
    pause = world.settle().requeue_after
    assert len(deployments(world, "model")) == 2
    assert pause is not None
    assert pause <= 10
    world.wait(pause)
    world.settle()
    assert len(deployments(world, "model")) == 1


def test_what_came_up_in_the_place_of_the_version_before_is_not_kept_as_that_one():
    world = make_updated()
    prove_new(world)
    world.wait(31)
    world.settle()
    assert len(deployments(world, "model")) == 2, "no proof at the endpoint yet"
    new_model(world, "newest")
    new_model(world, "newer")
    assert track(world) == "green"
    assert len(deployments(world, "model")) == 1


def test_an_endpoint_that_somebody_deleted_leads_to_the_track_that_had_the_requests_again():
    world = make_updated()
    prove_new(world)
    finish(world)
    del world.children[ObjectKey("Service", "assistant")]
    world.settle()
    assert track(world) == "green"
    assert world.status["served"]["modelDigest"] == digest_of("newer")


def test_the_old_model_stays_while_old_guardrails_end_what_they_began():
    world = make_updated()
    prove_new(world)
    world.with_pods = frozenset({first(world)})
    finish(world)
    assert len(deployments(world, "guardrails")) == 1
    assert len(deployments(world, "model")) == 2
    world.with_pods = frozenset()
    world.settle()
    assert len(deployments(world, "model")) == 1
    assert not [name for name in world.names("Service") if "-preview-" in name]


def test_the_next_version_takes_the_first_track_again():
    world = make_updated()
    prove_new(world)
    finish(world)
    new_model(world, "newest")
    assert len(deployments(world, "model")) == 2
    prove_new(world)
    assert track(world) == "blue"
    assert world.status["served"]["modelDigest"] == digest_of("newest")


def test_a_proof_that_fails_leaves_the_requests_where_they_are_and_removes_the_new_pods():
    world = make_updated()
    prove_new(world, BAD)
    status, reason, message = promoted(world)
    assert (status, reason) == ("False", "RolloutFailed")
    assert "2/3 unsafe prompts blocked" in message
    assert digest_of("newer") in message
    assert "Change the spec to try again" in message
    assert world.condition("Ready")["reason"] == "RolloutFailed"
    assert world.condition("Stalled")["status"] == "True"
    assert track(world) == "blue"
    assert len(deployments(world, "model")) == 1
    assert world.status["served"]["modelDigest"] == digest_of("product")
    for kind in ("ModelReady", "GuardrailsReady", "RailsProven", "Available"):
        assert world.condition(kind)["status"] == "True", kind
    assert world.stage("prove-candidate")["job"] in world.names("Job"), "its log can be read"


def test_a_version_that_failed_is_tried_again_only_when_the_spec_changes():
    world = make_updated()
    prove_new(world, BAD)
    world.wait(3600)
    world.settle()
    assert len(deployments(world, "model")) == 1
    world.edit(proof={"minBenign": "0.4"})
    world.settle()
    assert len(deployments(world, "model")) == 2
    prove_new(world)
    assert track(world) == "green"
    assert not world.status["rollout"].get("failed")


def test_a_newer_version_than_the_one_that_failed_comes_up():
    world = make_updated()
    prove_new(world, BAD)
    new_model(world, "newest")
    prove_new(world)
    assert (track(world), world.status["served"]["modelDigest"]) == ("green", digest_of("newest"))


def test_new_guardrails_come_up_next_to_the_old_ones_too():
    world = make_serving(rollout=BLUE_GREEN)
    before = world.status["served"]["configHash"]
    world.edit(guardrails=STRICTER)
    world.settle()
    assert len(deployments(world, "guardrails")) == 2
    assert world.status["served"]["configHash"] == before
    prove_new(world)
    assert world.status["served"]["configHash"] != before
    finish(world)
    assert len(deployments(world, "classifier")) == 1


def test_a_proof_at_the_endpoint_that_fails_after_the_switch_leads_back_to_the_old_version():
    world = make_updated()
    prove_new(world)
    assert track(world) == "green"
    world.succeed("prove", proof=BAD)
    world.settle()
    assert track(world) == "blue"
    assert promoted(world)[:2] == ("False", "RolloutFailed")
    assert world.status["served"]["modelDigest"] == digest_of("product")
    world.succeed("prove", proof=GOOD)
    world.wait(31)
    world.settle()
    assert len(deployments(world, "model")) == 1
    assert world.condition("RailsProven")["status"] == "True"
    assert track(world) == "blue"


def test_a_proof_at_the_endpoint_that_fails_leads_to_no_version_that_does_not_answer():
    world = make_updated()
    old = deployments(world, "model")[0]
    prove_new(world)
    world.children[ObjectKey("Deployment", old)]["status"]["readyReplicas"] = 0
    world.succeed("prove", proof=BAD)
    world.settle()
    assert track(world) == "green"
    assert world.condition("RailsProven")["status"] == "False"
    assert not world.status["rollout"].get("failed"), "nothing takes over from it"


def test_the_way_back_waits_for_pods_that_went_when_it_was_decided_on():
    world = make_updated()
    old = deployments(world, "model")[0]
    prove_new(world)
    world.succeed("prove", proof=BAD)
    world.carry_out(world.plan())
    assert world.status["rollout"]["failed"]
    world.children[ObjectKey("Deployment", old)]["status"]["readyReplicas"] = 0
    world.settle()
    assert track(world) == "green"


def test_a_bypass_that_opens_after_the_switch_leads_to_neither_version():
    world = make_updated()
    prove_new(world)
    world.succeed("prove", proof=GOOD.model_copy(update={"bypass_closed": False}))
    world.settle()
    world.wait(31)
    world.settle()
    assert track(world) == "green"
    assert world.condition("BypassClosed")["status"] == "False"
    assert world.condition("Ready")["status"] == "False"
    assert len(deployments(world, "model")) == 2, "the version before is kept"


def test_an_operator_that_ends_before_it_writes_the_status_decides_the_same_again():
    """At every plan of a rollout: what it applied is there, what it wrote is lost."""
    straight, crashing = make_updated(), make_updated()
    for proof in (GOOD, GOOD):
        for world in (straight, crashing):
            serve_new(world)
        straight.succeed("prove-candidate" if track(straight) == "blue" else "prove", proof=proof)
        crashing.succeed("prove-candidate" if track(crashing) == "blue" else "prove", proof=proof)
        straight.settle()
        straight.wait(5)
        straight.settle()
        for _ in range(10):
            lost = dict(crashing.status)
            crashing.carry_out(crashing.plan())
            crashing.resource["status"] = lost
            crashing.carry_out(crashing.plan())
            crashing.wait(1)
        assert track(crashing) == track(straight) == "green"
        for world in (straight, crashing):
            world.wait(31)
            world.settle()
    assert sorted(straight.children) == sorted(crashing.children)
    assert len(deployments(crashing, "model")) == 1


def test_an_operator_that_has_just_begun_and_does_not_know_the_key_leaves_both_as_they_are():
    """Secrets are not watched: the first plan learns of the key by making it."""
    world = make_updated()
    prove = {key: child for key, child in world.children.items() if key.kind == "Secret"}
    before = {key for key in world.children if key not in prove}
    for key in prove:
        del world.children[key]
    candidate = world.status["rollout"]["candidate"]
    made = world.plan()
    assert made.delete == ()
    assert {child.manifest["kind"] for child in made.apply} == {"Secret"}
    assert made.status["rollout"]["candidate"] == candidate
    world.settle()
    assert before <= set(world.children)


def test_the_service_changes_over_only_for_a_proof_that_the_status_has():
    world = make_updated()
    serve_new(world)
    world.succeed("prove-candidate", proof=GOOD)
    made = world.plan()
    world.carry_out(made)
    assert track(world) == "blue"
    assert made.requeue_after == 1.0
    world.carry_out(world.plan())
    world.wait(5)
    assert track(world) == "blue"
    world.carry_out(world.plan())
    assert track(world) == "green"


def test_what_fails_to_come_up_is_told_while_the_old_version_serves():
    world = make_updated()
    (new,) = [name for name in deployments(world, "model") if name != deployments(world, "model")[0]]
    world.failures[new] = quota()
    world.settle()
    ready = world.condition("Ready")
    for words in ("exceeded quota", "The version before serves on", "spec.rollout.strategy Rolling"):
        assert words in ready["message"]
    assert "exceeded quota" in promoted(world)[2]
    assert world.condition("Available")["status"] == "True"
    assert world.condition("RailsProven")["status"] == "True"


def test_a_spec_that_goes_back_to_what_serves_takes_the_new_pods_away():
    world = make_updated()
    new_model(world, "product")
    assert len(deployments(world, "model")) == 1
    assert promoted(world)[0] == "True"
    assert world.condition("Ready")["status"] == "True"


def test_a_gate_that_shuts_for_the_new_model_takes_it_away():
    world = make_updated()
    world.refer("SafetyEval", "hardened", finished_eval("newer", passed=False))
    world.settle()
    assert len(deployments(world, "model")) == 1
    assert world.condition("GatePassed")["status"] == "False"
    assert world.status["served"]["modelDigest"] == digest_of("product")


def test_a_gate_that_is_not_known_keeps_both_as_they_are():
    world = make_updated()
    world.references.clear()
    world.settle()
    assert len(deployments(world, "model")) == 2
    assert track(world) == "blue"


def test_another_number_of_pods_is_no_new_version():
    world = make_serving(rollout=BLUE_GREEN, serving={"replicas": 1})
    world.edit(serving={"replicas": 3})
    world.settle()
    (name,) = deployments(world, "model")
    assert world.children[ObjectKey("Deployment", name)]["spec"]["replicas"] == 3


def test_pods_that_an_autoscaler_added_are_there_before_requests_change_over():
    scaling = {"autoscaling": {"minReplicas": 1, "maxReplicas": 8}}
    world = make_serving(rollout=BLUE_GREEN, serving=scaling)
    (old,) = deployments(world, "model")
    world.children[ObjectKey("Deployment", old)]["spec"]["replicas"] = 5
    serve_new(world)
    new_model(world, "newer")
    (new,) = [name for name in deployments(world, "model") if name != old]
    assert world.children[ObjectKey("Deployment", new)]["spec"]["replicas"] == 5
    assert world.names("HorizontalPodAutoscaler") == [old], "nothing makes the new pods fewer"
    serve_new(world)
    world.children[ObjectKey("Deployment", new)]["status"]["readyReplicas"] = 4
    world.settle()
    assert "(4/5 pods)" in promoted(world)[2]
    prove_new(world)
    finish(world)
    assert world.names("HorizontalPodAutoscaler") == [new]


@pytest.mark.parametrize("on", [True, False])
def test_the_endpoint_speaks_what_the_pods_speak_that_it_leads_to(on: bool):
    tls = {"tls": {"secretName": "assistant-tls"}}
    secrets = {"assistant-tls": "1"}
    world = make_serving(rollout=BLUE_GREEN)
    world.secrets = secrets
    if not on:
        world.edit(expose=tls)
        world.settle()
        prove_new(world)
        finish(world)
    before, after = ("http", "https") if on else ("https", "http")
    world.edit(expose=tls if on else {})
    world.settle()
    serve_new(world)
    assert scheme(world) == before
    assert world.status["endpoint"].startswith(f"{before}://")
    assert world.condition("RailsProven")["status"] == "True", "the live version is as it was"
    asked = json.loads(world.specification("prove-candidate"))["guarded"]["baseUrl"]
    assert asked.startswith(f"{after}://")
    prove_new(world)
    assert scheme(world) == after
    assert world.status["endpoint"].startswith(f"{after}://")


def scheme(world: World) -> str:
    (port,) = world.children[ObjectKey("Service", "assistant")]["spec"]["ports"]
    return str(port.get("appProtocol", "http"))


def test_with_rolling_updates_chosen_in_the_middle_the_track_that_serves_is_updated_in_place():
    world = make_updated()
    prove_new(world)
    finish(world)
    world.edit(rollout={"strategy": "Rolling"})
    new_model(world, "newest")
    assert len(deployments(world, "model")) == 1
    assert track(world) == "green"
