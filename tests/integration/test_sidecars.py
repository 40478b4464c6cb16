"""Workers beside a proxy that does not end, with the real Job controller and garbage collection."""

import pytest
from tests.integration.conftest import Team
from tests.integration.operator_process import OperatorProcess
from tests.integration.test_life_cycle import BATCH, finetune
from tests.until import until

from safety_records.result import FailureClass, StageFailure, StageResult


def pods(team: Team) -> dict[str, dict[str, str]]:
    return {pod["metadata"]["name"]: pod["metadata"] for pod in team.children("/api/v1", "pods")}


def test_a_job_is_ended_when_its_record_is_written_down(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    pod = team.kubelet.linger("hardened", "fetch")
    fetch = team.kubelet.job("hardened", "fetch")["metadata"]["name"]
    until(lambda: fetch not in {j["metadata"]["name"] for j in team.children(BATCH, "jobs")}, "the Job's end")
    until(lambda: pod not in pods(team), "the pod's end")
    stages = team.get("safetyfinetunes", "hardened")["status"]["stages"]
    assert stages[0]["state"] == "Succeeded"
    team.kubelet.job("hardened", "train")
    assert len(team.children(BATCH, "jobs")) == 1


@pytest.mark.parametrize("code", [1, 137])
def test_a_worker_that_failed_is_tried_again(team: Team, operator: OperatorProcess, code: int):
    team.apply(finetune())
    first = team.kubelet.linger("hardened", "fetch", code, "out of memory")
    until(lambda: "deletionTimestamp" in pods(team).get(first, {"deletionTimestamp": ""}), "the pod's end")
    team.kubelet.let_go(first, code)
    until(lambda: set(pods(team)) - {first}, "another try", seconds=60)
    text = team.get("safetyfinetunes", "hardened")["status"]["progress"]["text"]
    assert text.startswith("fetch: ")


def test_wrong_input_beside_a_proxy_is_told(team: Team, operator: OperatorProcess):
    team.apply(finetune())
    digest = team.kubelet.job("hardened", "fetch")["metadata"]["annotations"]["modelsafety.dev/inputs-hash"]
    failure = StageFailure(failure=FailureClass.INPUT, reason="NotAModel", message="no weights")
    record = StageResult(stage="fetch", inputs_hash=digest, failure=failure).to_json()
    pod = team.kubelet.linger("hardened", "fetch", 42, record)
    team.wait("safetyfinetunes", "hardened", "Ready", "False", reason="NotAModel")
    until(lambda: "deletionTimestamp" in pods(team).get(pod, {"deletionTimestamp": ""}), "the pod's end")
