"""Strategy BlueGreen: the way back from a model that regressed."""

from tests.unit.planning.examples import finished_eval
from tests.unit.planning.guarded_deployment.blue_green import (
    BAD,
    BLUE_GREEN,
    deployments,
    finish,
    new_model,
    promoted,
    prove_new,
    serve_new,
    settle_with_lost_statuses,
)
from tests.unit.planning.guarded_deployment.guarded import make_serving
from tests.unit.planning.world import World, digest_of

from safety_operator.state.keys import ObjectKey


def test_the_way_back_from_a_regression_is_told_as_done_only_when_it_is():
    gate = {"evalRefs": [{"name": "hardened"}], "onRegression": "rollBack"}
    world = make_serving(rollout=BLUE_GREEN, gate=gate)
    new_model(world, "newer")
    prove_new(world)
    finish(world)
    world.refer("SafetyEval", "hardened", finished_eval("newer", passed=False))
    world.settle()
    assert "Rolling back to" in world.condition("GatePassed")["message"]
    prove_new(world)
    assert "Rolled back to" in world.condition("GatePassed")["message"]
    assert world.status["rollout"]["live"]["modelDigest"] == digest_of("product")


def make_regressed() -> World:
    """The second model is in service, and its gate shuts: the first one comes up to take over again."""
    gate = {"evalRefs": [{"name": "hardened"}], "onRegression": "rollBack"}
    world = make_serving(rollout=BLUE_GREEN, gate=gate)
    new_model(world, "newer")
    prove_new(world)
    finish(world)
    world.results.clear()
    world.refer("SafetyEval", "hardened", finished_eval("newer", passed=False))
    world.settle()
    return world


def replicas(world: World) -> list[int]:
    """Pods of each model server."""
    return [
        world.children[ObjectKey("Deployment", name)]["spec"]["replicas"]
        for name in deployments(world, "model")
    ]


def assert_nothing_is_served(world: World) -> None:
    assert replicas(world) == [0]
    status, reason, message = promoted(world)
    assert (status, reason) == ("False", "RolloutFailed")
    for words in (digest_of("product"), "2/3 unsafe prompts blocked", "nothing is served", "pass again"):
        assert words in message
    assert "Nothing is served" in world.condition("GatePassed")["message"]
    assert "Nothing is served" in world.condition("Ready")["message"]


def test_where_the_way_back_from_a_regression_fails_its_proof_nothing_is_served():
    world = make_regressed()
    prove_new(world, BAD)
    assert_nothing_is_served(world)
    failed = world.status["rollout"]["failed"]
    world.wait(3600)
    world.settle()
    assert_nothing_is_served(world)
    assert world.status["rollout"]["failed"] == failed
    world.references.clear()
    world.settle()
    assert replicas(world) == [0], "a gate that is not known starts nothing"
    assert "Nothing is served" in promoted(world)[2]


def test_the_model_of_the_spec_comes_back_when_its_evaluation_passes_again():
    world = make_regressed()
    prove_new(world, BAD)
    world.refer("SafetyEval", "hardened", finished_eval("newer"))
    world.settle()
    serve_new(world)
    assert replicas(world) == [1]
    assert world.status["served"]["modelDigest"] == digest_of("newer")
    assert promoted(world)[0] == "True"


def test_the_way_back_is_tried_again_when_the_spec_changes_and_nothing_else_starts():
    world = make_regressed()
    prove_new(world, BAD)
    world.edit(proof={"minBenign": "0.4"})
    world.settle()
    assert sorted(replicas(world)) == [0, 1]
    prove_new(world)
    finish(world)
    assert replicas(world) == [1]
    assert world.status["served"]["modelDigest"] == digest_of("product")


def test_a_way_back_whose_proof_at_the_endpoint_fails_does_not_lead_to_what_regressed():
    world = make_regressed()
    prove_new(world)
    assert world.status["rollout"]["live"]["modelDigest"] == digest_of("product")
    world.succeed("prove", proof=BAD)
    world.settle()
    world.wait(31)
    world.settle()
    assert_nothing_is_served(world)
    assert world.status["rollout"]["live"]["modelDigest"] == digest_of("product")


def test_an_operator_that_ends_before_it_writes_that_the_way_back_failed_decides_the_same():
    world = make_regressed()
    serve_new(world)
    world.succeed("prove-candidate", proof=BAD)
    settle_with_lost_statuses(world)
    assert_nothing_is_served(world)
