"""The number of pods changes hands, and what leads to the endpoint is made, against a real API server."""

from typing import Any

from tests.integration.conftest import Team
from tests.integration.operator_process import OperatorProcess
from tests.integration.test_life_cycle import MODEL, resource
from tests.until import until

APPS, AUTOSCALING = "/apis/apps/v1", "/apis/autoscaling/v2"
POLICY, NETWORKING = "/apis/policy/v1", "/apis/networking.k8s.io/v1"
ROLE = "modelsafety.dev/role"


def test_autoscaling_takes_the_number_of_pods_over_as_it_is(team: Team, operator: OperatorProcess):
    spec = {
        "model": MODEL,
        "gate": {"none": True},
        "guardrails": {"contentSafety": {"model": {"classifier": "prompt-harm-minilm"}}},
        "serving": {"replicas": 3},
        "expose": {"ingress": {"host": "assistant.example.com"}},
    }
    team.apply(resource("GuardedDeployment", "assistant", spec))
    team.kubelet.succeed("assistant", "fetch", max_length=16384)
    until(lambda: model(team), "the model's Deployment")
    assert model(team)["spec"]["replicas"] == 3
    assert [item["spec"]["maxUnavailable"] for item in team.children(POLICY, "poddisruptionbudgets")] == [1]
    assert team.children(NETWORKING, "ingresses")
    assert team.condition("guardeddeployments", "assistant", "Exposed")["reason"] == "NoCallerKeys"

    scaled = {"serving": {"replicas": None, "autoscaling": {"minReplicas": 1, "maxReplicas": 4}}}
    team.patch("guardeddeployments", "assistant", scaled)
    until(lambda: team.children(AUTOSCALING, "horizontalpodautoscalers"), "the autoscaler")
    until(lambda: "model-safety-operator" not in owners_of_replicas(team), "the number of pods given away")
    assert model(team)["spec"]["replicas"] == 3

    team.patch("guardeddeployments", "assistant", {"serving": {"autoscaling": None, "replicas": 2}})
    until(lambda: model(team)["spec"]["replicas"] == 2, "the number of the spec")
    until(lambda: not team.children(AUTOSCALING, "horizontalpodautoscalers"), "the autoscaler's end")


def model(team: Team) -> dict[str, Any]:
    """The model's Deployment; empty while there is none."""
    found = team.children(APPS, "deployments")
    return next((item for item in found if item["metadata"]["labels"][ROLE] == "model"), {})


def owners_of_replicas(team: Team) -> set[str]:
    """Field managers of the number of pods."""
    return {
        entry["manager"]
        for entry in model(team)["metadata"]["managedFields"]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    }
