"""Strategy BlueGreen: what serves after a suspension."""

import pytest
from tests.unit.planning.guarded_deployment.blue_green import (
    BAD,
    deployments,
    make_updated,
    new_model,
    promoted,
    prove_new,
    serve_new,
    settle_with_lost_statuses,
)
from tests.unit.planning.guarded_deployment.guarded import GOOD
from tests.unit.planning.world import World, digest_of

from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import LABEL_INSTANCE


def test_suspended_in_the_middle_and_resumed_one_version_is_left():
    world = make_updated()
    world.edit(suspend=True)
    world.settle()
    assert world.names("Deployment") == []
    world.edit(suspend=False)
    world.settle()
    serve_new(world)
    assert len(deployments(world, "model")) == 1


def make_resumed() -> World:
    """A version whose proof failed is all that the spec asks for, and nothing else can serve."""
    world = make_updated()
    prove_new(world, BAD)
    world.edit(suspend=True)
    world.settle()
    assert world.names("Deployment") == []
    assert "2/3 unsafe prompts blocked" in promoted(world)[2]
    world.edit(suspend=False)
    world.settle()
    return world


def leads_to(world: World) -> str:
    """What the endpoint's Service asks, there or not."""
    return str(world.children[ObjectKey("Service", "assistant")]["spec"]["selector"][LABEL_INSTANCE])


def test_a_version_that_failed_is_proven_before_it_takes_requests_over_a_suspension_too():
    world = make_resumed()
    for _ in range(2):
        serve_new(world)
        assert len(deployments(world, "model")) == 1
        assert leads_to(world) not in deployments(world, "guardrails")
        status, _reason, message = promoted(world)
        assert status == "Unknown"
        assert "gets requests when its proof is good" in message
        assert "Nothing is served" in message
        world.edit(suspend=True)
        world.settle()
        world.edit(suspend=False)
        world.settle()
    prove_new(world)
    assert leads_to(world) in deployments(world, "guardrails")
    world.settle()
    assert promoted(world)[0] == "True"
    assert world.status["served"]["modelDigest"] == digest_of("newer")
    assert not world.status["rollout"].get("failed")


def test_a_version_that_fails_again_after_a_suspension_stays_refused():
    world = make_resumed()
    prove_new(world, BAD)
    world.wait(3600)
    world.settle()
    assert world.names("Deployment") == []
    status, reason, message = promoted(world)
    assert (status, reason) == ("False", "RolloutFailed")
    for words in ("2/3 unsafe prompts blocked", "Nothing is served", "Change the spec to try again"):
        assert words in message
    assert world.condition("Ready")["reason"] == "RolloutFailed"


def test_a_version_that_failed_waits_for_a_gate_that_is_not_known_after_a_suspension():
    world = make_resumed()
    references = dict(world.references)
    world.references.clear()
    world.settle()
    assert len(deployments(world, "model")) == 1
    world.references.update(references)
    serve_new(world)
    assert leads_to(world) not in deployments(world, "guardrails")


def test_another_version_than_the_one_that_failed_serves_after_a_suspension():
    world = make_resumed()
    new_model(world, "newest")
    serve_new(world)
    assert leads_to(world) in deployments(world, "guardrails")
    assert world.status["served"]["modelDigest"] == digest_of("newest")
    assert not world.status["rollout"].get("failed")


def test_an_operator_that_ends_before_it_writes_of_a_version_proven_after_a_suspension():
    world = make_resumed()
    serve_new(world)
    world.succeed("prove-candidate", proof=GOOD)
    settle_with_lost_statuses(world)
    assert leads_to(world) in deployments(world, "guardrails")
    assert len(deployments(world, "model")) == 1
    assert world.status["served"]["modelDigest"] == digest_of("newer")


@pytest.mark.parametrize("crashing", [False, True])
def test_a_version_that_was_not_proven_at_a_suspension_is_proven_before_it_takes_requests(crashing: bool):
    world = make_updated()
    for suspend in (True, False):
        world.edit(suspend=suspend)
        settle_with_lost_statuses(world) if crashing else world.settle()
        world.wait(7200)
    serve_new(world)
    assert leads_to(world) not in deployments(world, "guardrails")
    assert "Nothing is served" in promoted(world)[2]
    prove_new(world)
    assert leads_to(world) in deployments(world, "guardrails")
    assert world.status["served"]["modelDigest"] == digest_of("newer")
    assert promoted(world)[0] == "True"


def test_another_version_than_the_one_that_was_not_proven_serves_at_once_after_a_suspension():
    world = make_updated()
    world.edit(suspend=True)
    world.settle()
    new_model(world, "product")
    world.edit(suspend=False)
    world.settle()
    serve_new(world)
    assert leads_to(world) in deployments(world, "guardrails")
    assert world.status["served"]["modelDigest"] == digest_of("product")
    assert not world.status["rollout"].get("candidate")
