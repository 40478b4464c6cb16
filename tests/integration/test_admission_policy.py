"""The chart's admission policy on a real API server: who may touch what stands around a gate."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.integration.apiserver import CACHE, REPO, ApiServer
from tests.until import until

OPERATOR = "system:serviceaccount:system:mso-model-safety-operator"
COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
EXEMPT = "system:serviceaccount:balancers:controller"
LABELS = {
    "app.kubernetes.io/managed-by": "model-safety-operator",
    "modelsafety.dev/kind": "GuardedDeployment",
    "modelsafety.dev/name": "assistant",
    "modelsafety.dev/role": "guardrails",
}
TEMPLATE = {
    "metadata": {"labels": LABELS},
    "spec": {"containers": [{"name": "server", "image": "example.com/server:1"}]},
}
SPECS: dict[str, dict[str, Any]] = {
    "ConfigMap": {"apiVersion": "v1", "data": {"a": "1"}},
    "Secret": {"apiVersion": "v1", "stringData": {"a": "1"}},
    "Service": {"apiVersion": "v1", "spec": {"selector": LABELS, "ports": [{"port": 80}]}},
    "NetworkPolicy": {"apiVersion": "networking.k8s.io/v1", "spec": {"podSelector": {}}},
    "Deployment": {
        "apiVersion": "apps/v1",
        "spec": {"selector": {"matchLabels": LABELS}, "template": TEMPLATE},
    },
    "Job": {
        "apiVersion": "batch/v1",
        "spec": {"template": TEMPLATE | {"spec": TEMPLATE["spec"] | {"restartPolicy": "Never"}}},
    },
    "Pod": {"apiVersion": "v1", "spec": TEMPLATE["spec"]},
}
TEAM = "guarded-team"


def child(kind: str, name: str = "assistant", labels: dict[str, str] = LABELS) -> dict[str, Any]:
    metadata = {"name": name, "namespace": TEAM, "labels": labels}
    rest = json.loads(json.dumps(SPECS[kind]).replace(json.dumps(LABELS), json.dumps(labels)))
    return {"kind": kind, "metadata": metadata, **rest}


def kubectl(server: ApiServer, user: str, *args: str, manifest: dict[str, Any] | None = None) -> str:
    """What kubectl answers to somebody who may do everything, as far as RBAC goes: its error, or nothing."""
    # The group is that of administrators: what is refused is so by the policy.
    command = [str(CACHE / "bin/kubectl"), "--kubeconfig", str(server.kubeconfig), "-n", TEAM]
    command += ["--as", user, "--as-group", "system:masters", *args]
    text = yaml.safe_dump(manifest) if manifest else None
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stderr


def create(server: ApiServer, user: str, manifest: dict[str, Any]) -> str:
    return kubectl(server, user, "create", "-f", "-", manifest=manifest)


@pytest.fixture(scope="module")
def server(bare_server: ApiServer) -> Iterator[ApiServer]:
    """With the policy of the chart, in force."""
    values = ["create=true", f"exemptUsers={{{EXEMPT}}}", "exemptGroups={emergency}"]
    sets = [word for value in values for word in ("--set", f"admissionPolicy.{value}")]
    chart = str(REPO / "charts/model-safety-operator")
    command = [str(CACHE / "bin/helm"), "template", "mso", chart, "-n", "system", *sets]
    shown = [*command, "--show-only", "templates/admission.yaml", "--set", f"watch.namespaces={{{TEAM}}}"]
    rendered = subprocess.run(shown, check=True, capture_output=True, text=True, timeout=60).stdout
    bare_server.kubectl("create", "namespace", TEAM)
    bare_server.kubectl("create", "serviceaccount", "default", "-n", TEAM)
    bare_server.kubectl("apply", "-f", "-", stdin=rendered)
    dry = ("create", "--dry-run=server", "-f", "-")
    until(lambda: kubectl(bare_server, "alice", *dry, manifest=child("ConfigMap")), "the policy in force", 60)
    yield bare_server
    bare_server.kubectl("delete", "-f", "-", stdin=rendered)


@pytest.fixture(scope="module")
def made(server: ApiServer) -> ApiServer:
    """With a child of every kind, made by the operator."""
    for kind in SPECS:
        assert create(server, OPERATOR, child(kind)) == ""
    return server


@pytest.mark.parametrize("kind", SPECS)
def test_nobody_else_makes_what_looks_like_a_child(server: ApiServer, kind: str) -> None:
    error = create(server, "alice", child(kind, "forged"))
    assert "only model-safety-operator makes, changes and deletes" in error
    assert create(server, "alice", child(kind, f"mine-{kind.lower()}", {"app": "mine"})) == ""


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret", "Service", "NetworkPolicy", "Deployment"])
def test_nobody_else_changes_or_deletes_a_child(made: ApiServer, kind: str) -> None:
    note = ("annotate", kind, "assistant", "--overwrite")
    for change in (
        (*note, "a=b"),
        ("label", kind, "assistant", "modelsafety.dev/kind-", "--overwrite"),
        ("delete", kind, "assistant"),
    ):
        assert "only model-safety-operator" in kubectl(made, "alice", *change), change
    for user in (OPERATOR, EXEMPT, COLLECTOR):
        assert kubectl(made, user, *note, f"by={user.rpartition(':')[2]}") == ""


def test_nobody_else_scales_a_child(made: ApiServer) -> None:
    scale = ("scale", "deployment/assistant", "--replicas=0")
    assert "only model-safety-operator" in kubectl(made, "alice", *scale)
    assert kubectl(made, "system:serviceaccount:kube-system:horizontal-pod-autoscaler", *scale) == ""


def test_no_pod_becomes_one_of_the_guardrails_by_its_labels(made: ApiServer) -> None:
    assert create(made, "alice", child("Pod", "plain", {"app": "mine"})) == ""
    labels = [f"{name}={value}" for name, value in LABELS.items()]
    assert "only model-safety-operator" in kubectl(made, "alice", "label", "pod", "plain", *labels)
    assert "only model-safety-operator" in kubectl(
        made, "alice", "label", "pod", "assistant", "modelsafety.dev/role=model", "--overwrite"
    )
    assert kubectl(made, "alice", "annotate", "pod", "assistant", "note=1") == "", "a queue may"
    assert kubectl(made, "alice", "delete", "pod", "assistant", "--grace-period=0", "--force") == ""


MAKERS = {
    **dict.fromkeys(("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"), "apps/v1"),
    **dict.fromkeys(("Job", "CronJob"), "batch/v1"),
    "ReplicationController": "v1",
}
"""What Kubernetes' own controllers, which the policy lets do, make pods of."""


def maker(kind: str, labels: dict[str, str]) -> dict[str, Any]:
    """One without any label of its own; ``labels``: of its pods."""
    version = MAKERS[kind]
    policy = "Never" if version == "batch/v1" else "Always"
    pods = {"metadata": {"labels": labels}, "spec": TEMPLATE["spec"] | {"restartPolicy": policy}}
    spec: dict[str, Any] = {"template": pods}
    if kind == "CronJob":
        spec = {"schedule": "@daily", "jobTemplate": {"spec": spec}}
    elif version != "batch/v1":
        spec["selector"] = labels if version == "v1" else {"matchLabels": labels}
    metadata = {"name": "maker", "namespace": TEAM}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("kind", MAKERS)
def test_nobody_has_kubernetes_make_pods_with_the_labels_of_guardrails(server: ApiServer, kind: str) -> None:
    assert "only model-safety-operator" in create(server, "alice", maker(kind, LABELS))
    assert create(server, "alice", maker(kind, {"app": "mine"})) == ""


def test_no_pod_of_a_guarded_model_gets_a_way_to_the_guard_of_another(made: ApiServer) -> None:
    assert create(made, OPERATOR, child("Pod", "asking")) == ""
    label = ("label", "pod", "asking", "modelsafety.dev/asks-content-safety=other")
    assert "only model-safety-operator" in kubectl(made, "alice", *label)


def test_the_garbage_collector_takes_children_away(made: ApiServer) -> None:
    assert create(made, OPERATOR, child("ConfigMap", "old")) == ""
    assert kubectl(made, COLLECTOR, "delete", "configmap", "old") == ""


def test_other_namespaces_are_not_looked_at_where_the_operator_watches_some(made: ApiServer) -> None:
    made.kubectl("create", "namespace", "elsewhere")
    other = child("ConfigMap")
    other["metadata"]["namespace"] = "elsewhere"
    assert create(made, "alice", other | {"metadata": other["metadata"]}) != "", "kubectl -n is another one"
    assert kubectl(made, "alice", "create", "-n", "elsewhere", "-f", "-", manifest=other) == ""
