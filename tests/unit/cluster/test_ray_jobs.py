"""What KubeRay says of a RayJob, in the form of a Job."""

from typing import Any

import pytest

from safety_operator.cluster.ray_jobs import as_job, is_headless, record_in_words
from safety_operator.cluster.stuck import find_stuck
from safety_operator.state.keys import ObjectKey
from safety_operator.state.reading import condition_of, is_true
from safety_records.result import FailureClass, StageFailure, StageResult


def ray_job(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "r", "uid": "u", "managedFields": []},
        "spec": {"suspend": False, "rayClusterSpec": {"workerGroupSpecs": [{"replicas": 3}]}},
        "status": status,
    }


@pytest.mark.parametrize(
    ("status", "condition"),
    [
        ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, "Complete"),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, "Failed"),
        ({"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"}, "Failed"),
        ({"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed"}, "Failed"),
        ({"jobDeploymentStatus": "Suspended"}, "Suspended"),
    ],
)
def test_an_end_and_a_rest_are_conditions(status: dict[str, Any], condition: str):
    found = as_job(ray_job(**status))
    assert [is_true(found, type_) for type_ in ("Complete", "Failed", "Suspended")] == [
        type_ == condition for type_ in ("Complete", "Failed", "Suspended")
    ]


@pytest.mark.parametrize("state", ["", "Initializing", "Running", "Retrying"])
def test_what_goes_on_has_no_condition(state: str):
    assert as_job(ray_job(jobDeploymentStatus=state))["status"]["conditions"] == []


def test_one_that_is_suspended_before_kuberay_looked_is_suspended():
    found = ray_job()
    found["spec"]["suspend"] = True
    assert is_true(as_job(found), "Suspended")


def test_pods_are_the_head_and_its_workers():
    running = as_job(ray_job(jobDeploymentStatus="Running", jobStatus="RUNNING"))
    assert (running["spec"]["parallelism"], running["status"]["ready"]) == (4, 4)
    assert as_job(ray_job(jobDeploymentStatus="Initializing"))["status"]["ready"] == 0
    assert "managedFields" not in running["metadata"]


def test_the_record_of_a_failure_is_found_in_its_last_words():
    failure = StageFailure(failure=FailureClass.INPUT, reason="LossNotFinite", message="step 3: NaN")
    record = StageResult(stage="train", inputs_hash="abc", failure=failure)
    words = f"Job entrypoint command failed with exit code 42, last logs:\nx\n{record.to_json()}\n"
    found = as_job(ray_job(jobDeploymentStatus="Failed", reason="AppFailed", message=words))
    assert record_in_words(found) == record


def test_the_operators_own_record_counts_before_last_words():
    failure = StageFailure(failure=FailureClass.INPUT, reason="OutOfMemory", message="pod head")
    record = StageResult(stage="train", inputs_hash="abc", failure=failure)
    found = ray_job(jobDeploymentStatus="Failed", reason="DeadlineExceeded", message="has passed")
    found["metadata"]["annotations"] = {"modelsafety.dev/ended": record.to_json()}
    assert record_in_words(as_job(found)) == record


@pytest.mark.parametrize("words", ["", "Traceback", '{"inputsHash": 1}'])
def test_last_words_without_a_record_give_none(words: str):
    assert record_in_words(as_job(ray_job(jobDeploymentStatus="Failed", message=words))) is None


def test_long_last_words_keep_their_end():
    found = as_job(ray_job(jobDeploymentStatus="Failed", reason="AppFailed", message="a" * 20000 + "END"))
    message = condition_of(found, "Failed")["message"]
    assert message.endswith("END")
    assert len(message) <= 1200


def pod_of(node: str, phase: str) -> dict[str, Any]:
    return {"metadata": {"labels": {"ray.io/node-type": node}}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("state", "pods", "lost"),
    [
        ("Running", [pod_of("head", "Running"), pod_of("worker", "Failed")], False),
        ("Running", [pod_of("head", "Failed"), pod_of("worker", "Running")], True),
        ("Running", [pod_of("worker", "Running")], True),
        ("Initializing", [], False),
        ("Complete", [], False),
    ],
)
def test_one_that_runs_without_a_head_is_headless(state: str, pods: list[dict[str, Any]], lost: bool):
    assert is_headless(as_job(ray_job(jobDeploymentStatus=state)), pods) is lost


def test_why_a_cluster_has_no_pods_is_asked_by_its_name():
    found = as_job(ray_job(jobDeploymentStatus="Initializing", startTime="now", rayClusterName="r-x7"))
    stuck = find_stuck({ObjectKey("RayJob", "r"): found}, {}, lambda _: None)
    assert [(one.what, one.name) for one in stuck] == [("missing pods", "r"), ("missing ray pods", "r-x7")]
