"""Stages whose pods hold a container that something injected and that does not end with the worker."""

from typing import Any

import pytest
from tests.unit.planning.examples import finished_blend, make_finetune
from tests.unit.planning.guarded_deployment.guarded import GOOD, make_open, serve_all
from tests.unit.planning.world import World

from safety_operator.planning.engine.job_held import LINGER
from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import ANNOTATION_HASH
from safety_operator.state.observed import Held, PodFailure
from safety_operator.state.plan import Plan
from safety_records.result import FailureClass, StageFailure, StageResult


def linger(world: World, stage: str, *, result: StageResult | None = None, **held: Any) -> str:
    """The worker is over and another container runs on: Kubernetes sees a pod that runs."""
    job = world.job(stage)
    name = str(job["metadata"]["name"])
    if result is None and not held.get("failed"):
        world.succeed(stage, output="product")
    elif result is not None:
        inputs = job["metadata"]["annotations"][ANNOTATION_HASH]
        world.results[name] = result.model_copy(update={"inputs_hash": inputs})
    job["status"] = {"active": 1, "ready": 0}
    world.held[name] = Held(**{"since": world.now, "over": True} | held)
    return name


def failed(class_: FailureClass, reason: str) -> StageResult:
    failure = StageFailure(failure=class_, reason=reason, message="m")
    return StageResult(stage="fetch", inputs_hash="", failure=failure)


def deletions(plan: Plan) -> set[ObjectKey]:
    return set(plan.delete)


def test_a_job_is_ended_once_its_record_is_written_down():
    world = make_finetune()
    world.settle()
    name = linger(world, "fetch")
    world.wait(LINGER.total_seconds())
    first = world.plan()
    assert ObjectKey("Job", name) not in first.delete, "the record is not in the status yet"
    world.carry_out(first)
    assert world.stage("fetch")["state"] == "Succeeded"
    assert ObjectKey("Job", name) in world.plan().delete
    world.settle()
    assert name not in world.names("Job")
    assert world.stage("fetch")["state"] == "Succeeded"


def test_what_ends_soon_is_given_the_time_and_then_looked_at_without_an_event():
    world = make_finetune()
    world.settle()
    name = linger(world, "fetch")
    made = world.settle()
    assert name in world.names("Job")
    assert made.requeue_after is not None
    assert made.requeue_after <= LINGER.total_seconds()
    world.children[ObjectKey("Job", name)]["status"] = {
        "conditions": [{"type": "Complete", "status": "True"}]
    }
    world.wait(3600)
    world.settle()
    assert name in world.names("Job"), "it ended by itself"


def test_the_last_job_of_a_finished_run_is_ended_too():
    world = make_finetune()
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    name = linger(world, "train", since=None)
    world.settle()
    assert world.condition("Succeeded")["status"] == "True"
    assert name not in world.names("Job")


def test_a_job_whose_other_pods_still_work_is_left_alone():
    world = make_finetune()
    world.settle()
    name = linger(world, "fetch", over=False)
    world.wait(3600)
    world.settle()
    assert name in world.names("Job")


def test_wrong_input_is_told_at_once_and_stays_told_when_the_pod_is_gone():
    world = make_finetune()
    world.settle()
    name = linger(world, "fetch", result=failed(FailureClass.INPUT, "NotAModel"), failed=("p-1",), over=False)
    world.wait(LINGER.total_seconds())
    first = world.plan()
    assert ObjectKey("Pod", "p-1") not in first.delete, "its words are not in the status yet"
    world.carry_out(first)
    assert world.condition("Ready")["reason"] == "NotAModel"
    assert ObjectKey("Pod", "p-1") in world.plan().delete
    world.held.clear()
    world.results.clear()
    job = world.children[ObjectKey("Job", name)]
    job["status"] = {"failed": 1, "conditions": [{"type": "Failed", "status": "True"}]}
    world.settle()
    assert world.condition("Ready")["reason"] == "NotAModel"


@pytest.mark.parametrize("words", [True, False])
def test_a_failure_that_may_pass_is_counted_by_kubernetes_and_tried_again(words: bool):
    world = make_finetune()
    world.settle()
    record = failed(FailureClass.INFRASTRUCTURE, "HubUnreachable") if words else None
    name = linger(world, "fetch", result=record, failed=("p-1",), over=False)
    world.failures[name] = PodFailure("p-1", "worker", 137, "OOMKilled", "killed")
    world.carry_out(world.plan())
    world.wait(LINGER.total_seconds())
    assert world.plan().delete == (ObjectKey("Pod", "p-1"),)
    assert "trying again after" in world.status["progress"]["text"]
    world.held.clear()
    world.results.clear()
    world.failures.clear()
    job = world.children[ObjectKey("Job", name)]
    job["status"] = {"failed": 4, "conditions": [world._condition("Failed", "BackoffLimitExceeded")]}
    world.settle()
    told = world.condition("Ready")
    assert told["reason"] == ("HubUnreachable" if words else "StageFailed")
    assert ("m. Next try" if words else "OOMKilled") in told["message"]


def test_a_proof_with_a_proxy_is_counted_and_its_job_ended():
    world = make_open()
    world.settle()
    serve_all(world)
    name = str(world.job("prove")["metadata"]["name"])
    world.succeed("prove", proof=GOOD)
    world.children[ObjectKey("Job", name)]["status"] = {"active": 1}
    world.held[name] = Held(since=world.now, over=True)
    pause = world.settle().requeue_after
    assert pause == LINGER.total_seconds()
    assert name in world.names("Job")
    world.wait(pause)
    world.settle()
    assert name not in world.names("Job")
    assert world.condition("RailsProven")["status"] == "True"


def test_a_proof_that_failed_with_a_proxy_is_tried_again():
    world = make_open()
    world.settle()
    serve_all(world)
    linger(world, "prove", failed=("p-1",), over=False, since=None)
    assert ObjectKey("Pod", "p-1") in world.plan().delete
