"""Strategy BlueGreen: a version that does not get anywhere fails, and gives its pods' room back."""

import pytest
from tests.unit.planning.examples import finished_eval
from tests.unit.planning.guarded_deployment.blue_green import (
    BLUE_GREEN,
    ROUTE,
    deployments,
    finish,
    make_updated,
    new_model,
    promoted,
    prove_new,
    quota,
    serve_new,
    settle_with_lost_statuses,
    track,
)
from tests.unit.planning.guarded_deployment.guarded import GOOD, make_serving
from tests.unit.planning.world import World, digest_of

from safety_operator.state.keys import ObjectKey

DEADLINE = {"rollout": BLUE_GREEN | {"progressDeadlineSeconds": 600}}


def assert_given_up(world: World, words: str) -> None:
    status, reason, message = promoted(world)
    assert (status, reason) == ("False", "RolloutFailed")
    for part in ("made no progress for 600 s", words, f"{digest_of('product')} serves on"):
        assert part in message
    assert len(deployments(world, "model")) == 1
    assert track(world) == "blue"
    assert world.condition("Available")["status"] == "True"


@pytest.mark.parametrize("crashing", [False, True])
def test_a_version_whose_pods_do_not_come_up_in_time_is_taken_away_with_what_they_waited_for(crashing: bool):
    world = make_updated(**DEADLINE)
    (_, new) = deployments(world, "model")
    world.failures[new] = quota()
    world.wait(599)
    world.settle()
    assert len(deployments(world, "model")) == 2
    assert promoted(world)[0] == "Unknown"
    world.wait(2)
    settle_with_lost_statuses(world) if crashing else world.settle()
    assert_given_up(world, "exceeded quota")
    world.wait(3600)
    world.settle()
    assert len(deployments(world, "model")) == 1, "not tried again"


def test_the_operator_looks_again_when_the_time_is_over():
    world = make_updated(**DEADLINE)
    world.wait(590)
    pause = world.plan().requeue_after
    assert pause is not None
    assert pause <= 10


def test_the_operator_looks_again_for_a_version_whose_proof_nobody_tries_again():
    world = make_updated(proof={"every": "1d"}, **DEADLINE)
    serve_new(world)
    world.fail("prove-candidate", reason="NoTokenizer", message="the proof cannot read it", input_=True)
    world.settle()
    world.wait(590)
    pause = world.plan().requeue_after
    assert pause is not None
    assert pause <= 10
    world.wait(10)
    world.settle()
    assert_given_up(world, "the proof cannot read it")


def test_a_version_proven_in_time_takes_the_requests_though_its_policy_opens_it_after_the_deadline():
    world = make_updated(**DEADLINE)
    serve_new(world)
    world.wait(598)
    world.succeed("prove-candidate", proof=GOOD)
    world.settle()
    world.wait(5)
    world.settle()
    assert track(world) == "green"


def test_pods_that_came_up_while_no_operator_looked_have_time_for_their_proof():
    world = make_updated(**DEADLINE)
    world.wait(3600)
    prove_new(world)
    assert track(world) == "green"


def test_a_version_whose_proof_never_ends_is_taken_away_too():
    world = make_updated(**DEADLINE)
    world.wait(300)
    serve_new(world)
    world.wait(599)
    world.settle()
    assert len(deployments(world, "model")) == 2
    world.wait(2)
    world.settle()
    assert_given_up(world, "gets requests when its proof is good")


def test_a_step_of_weights_may_take_its_time_and_the_deadline_after_it():
    rollout = DEADLINE["rollout"] | {"weights": [10], "stepSeconds": 3600}
    world = make_serving(rollout=rollout, expose=ROUTE)
    new_model(world, "newer")
    prove_new(world)
    world.wait(4100)
    world.settle()
    assert world.status["rollout"]["candidate"]["weight"] == 10
    world.wait(200)
    (route,) = (item.manifest for item in world.plan().apply if item.manifest["kind"] == "HTTPRoute")
    assert len(route["spec"]["rules"][0]["backendRefs"]) == 1, "all requests go back at once"
    world.settle()
    assert promoted(world)[:2] == ("False", "RolloutFailed")
    world.wait(31)
    world.settle()
    assert_given_up(world, "10 % of the HTTPRoute's requests")


def test_pods_that_were_lost_in_a_step_have_time_to_come_back():
    rollout = DEADLINE["rollout"] | {"weights": [10], "stepSeconds": 3600}
    world = make_serving(rollout=rollout, expose=ROUTE)
    new_model(world, "newer")
    prove_new(world)
    world.wait(900)
    world.children[ObjectKey("Deployment", deployments(world, "model")[-1])]["status"]["readyReplicas"] = 0
    world.settle()
    assert promoted(world)[:2] == ("Unknown", "RollingOut")


def test_what_regressed_serves_until_the_way_back_is_up_however_long_it_takes():
    gate = {"evalRefs": [{"name": "hardened"}], "onRegression": "rollBack"}
    world = make_serving(gate=gate, **DEADLINE)
    new_model(world, "newer")
    prove_new(world, GOOD)
    finish(world)
    world.refer("SafetyEval", "hardened", finished_eval("newer", passed=False))
    world.settle()
    world.wait(3600)
    world.settle()
    assert len(deployments(world, "model")) == 2
    assert promoted(world)[0] == "Unknown"
