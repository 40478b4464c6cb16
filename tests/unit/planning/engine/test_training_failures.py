"""What happens to a training whose pods are killed, or have no memory left."""

import pytest
from tests.unit.planning.engine.test_failures import attempt_of
from tests.unit.planning.examples import finished_blend, make_finetune
from tests.unit.planning.world import World

from safety_operator.state.observed import PodFailure


def begun_training() -> World:
    world = make_finetune()
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    return world


def test_a_training_that_was_killed_for_memory_waits_for_more_of_it():
    world = begun_training()
    world.fail("train")
    assert world.settle().requeue_after is None
    found = world.condition("Stalled")
    assert found["reason"] == "OutOfMemory"
    assert "raise the memory of training pods" in found["message"]
    assert "Next try" not in found["message"]
    world.resource["spec"]["compute"] = {"resources": {"limits": {"memory": "64Gi"}}}
    world.settle()
    assert attempt_of(world, "train") == "2"


def killed(world: World, reason: str = "Error") -> None:
    """A pod of the training is killed, which ends its Job; another pod lost its peer by that."""
    job = world.job("train")
    name = job["metadata"]["name"]
    world.fail("train", reason="Interrupted", message="a peer is gone")
    job["status"]["conditions"][0]["reason"] = "PodFailurePolicy"
    world.failures[name] = PodFailure(f"{name}-0-x", "worker", 137, reason, "")


def test_a_training_whose_pod_was_killed_goes_on_at_once():
    world = begun_training()
    for number in range(2, 12):
        killed(world)
        world.settle()
        assert attempt_of(world, "train") == str(number)
        assert world.condition("Stalled")["status"] == "False"
        assert world.status["restarts"] == number - 1
    killed(world)
    assert world.settle().requeue_after == pytest.approx(60), "who kills it every time is given a pause"


def test_of_a_training_that_was_killed_for_memory_the_peers_words_do_not_count():
    world = begun_training()
    killed(world, "OOMKilled")
    world.settle()
    assert world.condition("Stalled")["reason"] == "OutOfMemory"


def test_a_training_that_knows_better_why_it_failed_says_that():
    world = begun_training()
    job = world.job("train")["metadata"]["name"]
    world.failures[job] = PodFailure("p", "worker", 137, "OOMKilled", "")
    world.fail("train", reason="LossNotFinite", message="no number", input_=True)
    world.settle()
    assert world.condition("Stalled")["reason"] == "LossNotFinite"
