"""Clusters with rules of their own for pods: a quota of limits, users from a range, Secrets that are let go.

The rules are real: the API server's quota and admission policies, on pods that the real Job controller makes.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import Starter, Team
from tests.until import until

QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "limits"},
    "spec": {"hard": {"limits.cpu": "16", "limits.memory": "64Gi"}},
}
RANGE = 1000660000
POLICY: list[dict[str, Any]] = [
    {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "users-from-a-range"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                    }
                ]
            },
            "validations": [
                {
                    "expression": f"!has(object.spec.securityContext.{field}) || "
                    f"object.spec.securityContext.{field} >= {RANGE}",
                    "message": f"{field} is not of this namespace's range",
                }
                for field in ("runAsUser", "runAsGroup", "fsGroup")
            ],
        },
    },
    {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "users-from-a-range"},
        "spec": {
            "policyName": "users-from-a-range",
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"users": "from-a-range"}}},
        },
    },
]


def finetune(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "modelsafety.dev/v1alpha1",
        "kind": "SafetyFinetune",
        "metadata": {"name": "tuned"},
        "spec": {
            "model": {"source": {"uri": "package://module/model"}},
            "data": {"uri": "pvc://safety-artifacts/train.jsonl"},
            **spec,
        },
    }


def is_refused(team: Team, **security_context: int) -> bool:
    """Whether a pod of anybody's, without limits, is refused by now: rules take a moment to hold."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe"},
        "spec": {"containers": [{"name": "a", "image": "a"}], "securityContext": security_context},
    }
    path = f"/api/v1/namespaces/{team.namespace}/pods?dryRun=All"
    return team.server.http.post(path, json=pod).status_code in {403, 422}


def the_pod(team: Team) -> dict[str, Any]:
    pods: list[dict[str, Any]] = until(lambda: team.children("/api/v1", "pods"), "a pod of the run", 30)
    return pods[0]["spec"]


def set_up_limits(team: Team) -> None:
    team.apply(QUOTA)
    until(lambda: is_refused(team), "the quota")


def test_under_a_quota_of_limits_one_field_lets_the_pods_come_up(team: Team, operator: object) -> None:
    set_up_limits(team)
    team.apply(finetune(pod={"limitRatio": {"cpu": "10", "memory": "2"}}))
    resources = the_pod(team)["containers"][0]["resources"]
    assert resources["limits"] == {"cpu": "1", "memory": "2Gi"}


def test_under_a_quota_of_limits_one_value_of_the_chart_lets_the_pods_come_up(
    team: Team, start_operator: Starter
) -> None:
    set_up_limits(team)
    start_operator(SAFETY_PODS=json.dumps({"limitRatio": {"cpu": "4", "memory": "1"}}))
    team.apply(finetune())
    assert the_pod(team)["containers"][0]["resources"]["limits"] == {"cpu": "400m", "memory": "1Gi"}


def set_up_range(team: Team) -> None:
    team.apply(*POLICY)
    team.server.kubectl("label", "namespace", team.namespace, "users=from-a-range")
    until(lambda: is_refused(team, runAsUser=1000), "the policy")


@pytest.mark.parametrize("context", [{}, {"runAsUser": None, "runAsGroup": None, "fsGroup": None}])
def test_where_users_come_from_a_range_one_field_leaves_them_to_the_cluster(
    team: Team, operator: object, context: dict[str, None]
) -> None:
    set_up_range(team)
    team.apply(finetune(pod={"securityContext": context}))
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(the_pod(team)["securityContext"])


def test_where_users_come_from_a_range_one_value_of_the_chart_leaves_them_to_the_cluster(
    team: Team, start_operator: Starter
) -> None:
    set_up_range(team)
    start_operator(SAFETY_PODS=json.dumps({"securityContext": None}))
    team.apply(finetune())
    context = the_pod(team)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(context)


def test_a_secret_without_the_label_reaches_no_pod_and_one_with_it_does(
    team: Team, start_operator: Starter, tmp_path: Path
) -> None:
    start_operator(SAFETY_SECRET_LABEL="modelsafety.dev/usable=true")
    for name, labels in (("other", {}), ("usable", {"modelsafety.dev/usable": "true"})):
        meta = {"name": name, "labels": labels}
        team.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"token": "t"}})
    source = {"uri": "package://module/model", "tokenSecretRef": {"name": "other", "key": "token"}}
    team.apply(finetune(model={"source": source}))
    found = team.wait("safetyfinetunes", "tuned", "Stalled", "True", reason="SecretWithheld")
    assert "spec.model.source.tokenSecretRef: the Secret other lacks the label" in found["message"]
    assert f"kubectl label secret other -n {team.namespace} modelsafety.dev/usable=true" in found["message"]
    assert team.children("/apis/batch/v1", "jobs") == []
    source["tokenSecretRef"]["name"] = "usable"  # type: ignore[index]
    team.patch("safetyfinetunes", "tuned", {"model": {"source": source}})
    env = {item["name"]: item for item in the_pod(team)["containers"][0]["env"]}
    assert env["HF_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "usable"
