"""Strategy BlueGreen: a version that failed is tried again when somebody asks for it by annotation."""

from tests.unit.planning.guarded_deployment.blue_green import (
    BAD,
    deployments,
    make_updated,
    promoted,
    prove_new,
    settle_with_lost_statuses,
    track,
)
from tests.unit.planning.world import World, digest_of

from safety_operator.state.labels import ANNOTATION_RETRY_ROLLOUT


def make_failed() -> World:
    world = make_updated()
    prove_new(world, BAD)
    assert "kubectl safety rollout retry" in promoted(world)[2]
    return world


def ask_again(world: World, value: str) -> None:
    world.resource["metadata"].setdefault("annotations", {})[ANNOTATION_RETRY_ROLLOUT] = value
    world.settle()


def test_a_version_that_failed_is_tried_again_with_a_new_proof_and_takes_the_requests():
    world = make_failed()
    ask_again(world, "1")
    assert len(deployments(world, "model")) == 2
    prove_new(world)
    assert track(world) == "green"
    assert world.status["served"]["modelDigest"] == digest_of("newer")
    assert not world.status["rollout"].get("failed")


def test_each_value_of_the_annotation_gives_one_try():
    world = make_failed()
    for value in ("1", "2"):
        ask_again(world, value)
        prove_new(world, BAD)
        assert world.status["rollout"]["failed"]["retry"] == value
        world.wait(3600)
        ask_again(world, value)
        assert promoted(world)[:2] == ("False", "RolloutFailed")
        assert len(deployments(world, "model")) == 1


def test_an_operator_that_ends_in_the_middle_tries_again_once():
    world = make_failed()
    world.resource["metadata"]["annotations"] = {ANNOTATION_RETRY_ROLLOUT: "1"}
    settle_with_lost_statuses(world)
    assert len(deployments(world, "model")) == 2
    prove_new(world, BAD)
    settle_with_lost_statuses(world)
    assert len(deployments(world, "model")) == 1


def test_a_version_that_failed_before_a_suspension_is_tried_at_its_preview_again():
    world = make_failed()
    for suspend in (True, False):
        world.edit(suspend=suspend)
        world.settle()
    prove_new(world, BAD)
    assert world.names("Deployment") == []
    ask_again(world, "1")
    prove_new(world)
    assert world.status["served"]["modelDigest"] == digest_of("newer")
