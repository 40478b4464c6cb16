"""RayJobs that KubeRay would start again and again: told with numbers, and ended."""

from typing import Any

import pytest
from tests.unit.planning.engine.test_ray_runs import end, start, world
from tests.unit.planning.world import World

from safety_operator.cluster.ray_jobs import record_in_words
from safety_operator.state.observed import EndedPods, PodFailure

__all__ = ["world"]

KILLED = PodFailure("head", "worker", 137, "OOMKilled", "")
CRASHED = PodFailure("head-3", "worker", 1, "Error", "ray: command not found")


def told(world: World) -> dict[str, Any]:
    """The condition, and that the RayJob is the only one and is being ended."""
    (name,) = world.names("RayJob")
    (job,) = [child for key, child in world.children.items() if key.name == name]
    assert job["spec"]["activeDeadlineSeconds"] == 1
    record = record_in_words(job)
    assert record is not None
    world.results[name] = record
    return world.condition("Ready")


def forget(world: World, job: dict[str, Any]) -> None:
    """KubeRay ends the RayJob, and another process of the operator comes."""
    world.failures.clear()
    world.ended.clear()
    world.headless = frozenset()
    (live,) = [child for key, child in world.children.items() if key.name == job["metadata"]["name"]]
    end(live, "Failed", reason="DeadlineExceeded", message="The RayJob has passed the activeDeadlineSeconds")


def give_memory(world: World, limit: str) -> None:
    compute = world.resource["spec"]["compute"]
    world.edit(pod={"roles": {"trainer": {"resources": {"limits": {"memory": limit}}}}}, compute=compute)


@pytest.mark.parametrize("begun", [False, True])
def test_a_head_that_is_killed_for_its_memory_is_told_with_what_it_had_and_what_is_needed(
    world: World, begun: bool
):
    give_memory(world, "40Gi")
    job = start(world)
    name = job["metadata"]["name"]
    job["status"] = {"seen": True, "submitted": begun}
    world.failures[name] = KILLED
    world.headless = frozenset({name} if begun else ())
    world.settle()
    ready = told(world)
    assert (ready["reason"], world.condition("Stalled")["status"]) == ("OutOfMemory", "True")
    assert "pod head was killed because its memory was full" in ready["message"]
    assert "It had a limit of 40Gi; Ray and the driver of a training take 1Gi at least" in ready["message"]


def test_a_worker_of_a_training_that_runs_is_left_to_the_driver(world: World):
    job = start(world)
    job["status"] = {"seen": True, "submitted": True}
    world.failures[job["metadata"]["name"]] = KILLED
    world.settle()
    assert world.condition("Ready")["reason"] == "Running"


def test_the_verdict_stays_when_the_operator_comes_anew(world: World):
    job = start(world)
    job["status"] = {"seen": True}
    world.failures[job["metadata"]["name"]] = KILLED
    world.settle()
    before = told(world)["message"]
    forget(world, job)
    world.settle()
    world.wait(100_000)
    world.settle()
    assert told(world)["message"] == before
    assert world.names("RayJob") == [job["metadata"]["name"]]


def test_more_memory_starts_it_at_once(world: World):
    job = start(world)
    job["status"] = {"seen": True}
    world.failures[job["metadata"]["name"]] = KILLED
    world.settle()
    told(world)
    forget(world, job)
    give_memory(world, "64Gi")
    world.settle()
    again = world.job("train")
    assert again["metadata"]["name"] != job["metadata"]["name"]
    assert again["spec"]["activeDeadlineSeconds"] > 1
    assert world.condition("Stalled")["status"] == "False"


@pytest.mark.parametrize(("heads", "others"), [(2, 2), (0, 1)])
def test_a_pod_that_ended_once_or_twice_may_come_again(world: World, heads: int, others: int):
    job = start(world)
    job["status"] = {"seen": True}
    world.ended[job["metadata"]["name"]] = EndedPods(heads, others, CRASHED)
    world.settle()
    assert world.condition("Ready")["reason"] == "Running"


@pytest.mark.parametrize(("heads", "others", "words"), [(3, 0, "head"), (0, 3, "workers")])
def test_pods_that_end_again_and_again_are_told_and_tried_anew_later(
    world: World, heads: int, others: int, words: str
):
    job = start(world)
    name = job["metadata"]["name"]
    job["status"] = {"seen": True}
    world.ended[name] = EndedPods(heads, others, CRASHED)
    world.settle()
    ready = told(world)
    assert ready["reason"] == "RayCannotStart"
    assert f"{words} of the Ray cluster ended 3 times before the training began" in ready["message"]
    assert "exit code 1: ray: command not found" in ready["message"]
    forget(world, job)
    world.settle()
    assert "ray: command not found" in world.condition("Ready")["message"]
    world.wait(61)
    world.settle()
    assert world.names("RayJob") == [world.job("train")["metadata"]["name"]] != [name]


def test_pods_that_ended_before_a_training_that_runs_are_forgotten(world: World):
    job = start(world)
    job["status"] = {"seen": True, "submitted": True}
    world.ended[job["metadata"]["name"]] = EndedPods(2, 9, CRASHED)
    world.settle()
    assert world.condition("Ready")["reason"] == "Running"
