"""A stage that KubeRay carries out: made, followed, read and tried again as one that a Job carries out."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planning.examples import finished_blend, make_finetune
from tests.unit.planning.world import World

from safety_operator.api.safety_finetune import Compute
from safety_operator.children.accelerated_job import nemo_rl_shape
from safety_operator.children.worker_job import JobShape
from safety_operator.planning.safety_finetune import training_stages
from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import ANNOTATION_HASH
from safety_operator.state.observed import PodFailure
from safety_operator.state.reading import format_time
from safety_records.result import FailureClass, StageFailure, StageResult

RAY = nemo_rl_shape(
    JobShape(),
    Compute(nodes=2, gpus_per_node=8, launcher="kuberay"),
    image="registry.example/nemo-rl:v0.7.0",
    version="0.7.0",
)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A fine-tune whose training is about to start on KubeRay."""
    monkeypatch.setattr(training_stages, "training_shape", lambda *_, **__: RAY)
    found = make_finetune(queueName="gpus", compute={"launcher": "kuberay"})
    found.refer("SafetyBlend", "blend", finished_blend())
    return found


def start(world: World) -> dict[str, Any]:
    world.settle()
    world.succeed("fetch")
    world.settle()
    job = world.job("train")
    assert job["kind"] == "RayJob"
    return job


def end(job: dict[str, Any], type_: str, **condition: str) -> None:
    """As ``cluster.ray_jobs`` keeps a RayJob that ended."""
    found = {"type": type_, "status": "True", "lastTransitionTime": "2026-11-21T12:00:00Z", **condition}
    job["status"] = {"conditions": [found], "seen": True}


def test_a_training_that_ran_well_is_asked_for_its_record_by_a_small_job(world: World):
    job = start(world)
    end(job, "Complete")
    world.settle()
    assert world.names("RayJob") == []
    small = world.job("train")
    (container,) = small["spec"]["template"]["spec"]["containers"]
    assert small["kind"] == "Job"
    assert (container["image"], "nvidia.com/gpu" in str(container)) == ("worker:1", False)
    assert "completions" not in small["spec"]
    world.succeed("train")
    world.settle()
    assert world.condition("Succeeded")["status"] == "True"
    assert world.status.get("restarts", 0) == 0


def test_a_training_whose_head_is_gone_goes_on_in_another_ray_job_and_says_so(world: World):
    job = start(world)
    world.headless = frozenset({job["metadata"]["name"]})
    world.settle()
    again = world.job("train")
    assert world.names("RayJob") == [again["metadata"]["name"]]
    assert again["metadata"]["name"] != job["metadata"]["name"]
    assert world.status["restarts"] == 1
    (told,) = {event.message for event in world.events if event.reason == "RayHeadLost"}
    assert job["metadata"]["name"] in told


def test_a_training_that_lost_a_node_to_its_memory_says_so_and_waits_for_a_person(world: World):
    job = start(world)
    name = job["metadata"]["name"]
    end(job, "Failed", reason="AppFailed", message="its words")
    failure = StageFailure(failure=FailureClass.INFRASTRUCTURE, reason="RayNodeLost", message="1 of 2 nodes")
    digest = job["metadata"]["annotations"][ANNOTATION_HASH]
    world.results[name] = StageResult(stage="train", inputs_hash=digest, failure=failure)
    world.failures[name] = PodFailure("worker", "worker", 137, "OOMKilled", "")
    world.settle()
    assert world.condition("Stalled")["reason"] == "OutOfMemory"
    assert world.names("RayJob") == [name]


def test_a_training_that_lost_a_node_goes_on_at_once(world: World):
    job = start(world)
    end(job, "Failed", reason="AppFailed", message="its words")
    failure = StageFailure(
        failure=FailureClass.INFRASTRUCTURE, reason="RayNodeLost", message="1 of 2 nodes are left"
    )
    digest = job["metadata"]["annotations"][ANNOTATION_HASH]
    world.results[job["metadata"]["name"]] = StageResult(stage="train", inputs_hash=digest, failure=failure)
    world.settle()
    assert world.names("RayJob") != [job["metadata"]["name"]]
    assert [event.message for event in world.events if event.reason == "RayNodeLost"] == [
        "1 of 2 nodes are left"
    ]
    assert world.condition("Stalled")["status"] == "False"


def test_what_a_failed_training_said_is_told_and_tried_again_later_by_kuberay(world: World):
    job = start(world)
    end(job, "Failed", reason="AppFailed", message="Job entrypoint command failed")
    world.settle()
    assert "AppFailed: Job entrypoint command failed" in world.condition("Ready")["message"]
    world.wait(61)
    world.settle()
    again = world.job("train")
    assert (again["kind"], again["metadata"]["name"] != job["metadata"]["name"]) == ("RayJob", True)
    assert world.names("RayJob") == [again["metadata"]["name"]]


def test_a_training_in_a_queue_says_so(world: World):
    job = start(world)
    end(job, "Suspended")
    world.settle()
    assert world.condition("Ready")["reason"] == "Queued"
    assert "waiting in queue gpus" in world.status["progress"]["text"]


def test_a_suspended_fine_tune_has_no_ray_job(world: World):
    start(world)
    world.edit(suspend=True)
    world.settle()
    assert world.names("RayJob") == []


def test_a_training_that_nobody_wants_any_more_is_taken_away(world: World):
    job = start(world)
    world.edit(seed=7)
    world.settle()
    assert job["metadata"]["name"] not in world.names("RayJob")


def test_kuberay_that_nobody_runs_is_waited_for_by_name(world: World):
    start(world)
    world.settle()
    assert "waiting for KubeRay's operator" in world.status["progress"]["text"]


def test_a_cluster_without_kuberay_is_told_and_goes_on_as_soon_as_it_has_it(world: World):
    world.optional = frozenset()
    world.settle()
    world.succeed("fetch")
    world.settle()
    ready = world.condition("Ready")
    assert (ready["reason"], world.status["state"]) == ("KubeRayMissing", "Stalled")
    assert "set spec.compute.launcher to job" in ready["message"]
    world.optional = frozenset({"RayJob"})
    world.settle()
    assert world.job("train")["kind"] == "RayJob"


def test_the_operator_of_kuberay_may_reach_the_head_at_one_port(world: World):
    start(world)
    policy = world.children[ObjectKey("NetworkPolicy", "hardened-safetyfinetune-train-kuberay")]
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8265}]
    assert rule["from"][0]["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/component": "kuberay-operator"
    }


@pytest.mark.parametrize("namespaces", [["ray-system"], []])
def test_only_whom_the_chart_names_may_submit_to_the_head(world: World, namespaces: list[str]):
    peers = tuple(
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}} for name in namespaces
    )
    world.settings = replace(world.settings, kuberay_peers=peers)
    start(world)
    policy = world.children[ObjectKey("NetworkPolicy", "hardened-safetyfinetune-train-kuberay")]
    assert [rule["from"] for rule in policy["spec"]["ingress"]] == ([list(peers)] if peers else [])


def test_a_ray_job_that_kuberay_does_not_look_at_is_told_and_no_longer_once_it_does(world: World):
    job = start(world)
    job["metadata"]["creationTimestamp"] = format_time(world.now)
    world.settle()
    assert world.condition("Ready")["reason"] != "KubeRayMissing"
    world.wait(61)
    world.settle()
    ready = world.condition("Ready")
    assert (ready["reason"], "has not looked at RayJob" in ready["message"]) == ("KubeRayMissing", True)
    job["status"] = {"seen": True}
    world.settle()
    assert world.condition("Ready")["reason"] != "KubeRayMissing"


def test_a_ray_job_that_nobody_lets_go_is_told_with_what_to_do(world: World):
    job = start(world)
    job["metadata"]["deletionTimestamp"] = format_time(world.now)
    world.settle()
    assert "waiting for the previous Job to end" in world.status["progress"]["text"]
    world.wait(181)
    world.settle()
    ready = world.condition("Ready")
    assert ready["reason"] == "KubeRayMissing"
    assert f"kubectl patch rayjob {job['metadata']['name']} -n team --type=merge" in ready["message"]


def test_a_suspended_fine_tune_tells_of_a_ray_job_that_does_not_go(world: World):
    job = start(world)
    world.edit(suspend=True)
    job["metadata"]["deletionTimestamp"] = format_time(world.now)
    world.settle()
    assert world.condition("Ready")["reason"] == "Suspended"
    world.wait(3600)
    world.settle()
    found = world.condition("Ready")
    assert found["reason"] == "KubeRayMissing"
    assert "spec.suspend is true, but something may still run" in found["message"]
    assert "kubectl patch rayjob" in found["message"]
