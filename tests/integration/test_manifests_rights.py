"""The operator with exactly the rights that the chart gives it: nothing that it asks for is refused."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.apiserver import API, CACHE, REPO, ApiServer, running_apiserver
from tests.integration.operator_process import OperatorProcess
from tests.until import until

CHART = REPO / "charts/model-safety-operator"
SMALLEST = REPO / "tests/data/manifests/smallest"
PLURALS = ("safetyevals", "safetyblends", "safetyfinetunes", "guardeddeployments")
RIGHTS = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: safety-artifacts}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    # Without controllers: a namespace is empty, which some lists show in a way of their own.
    with running_apiserver(tmp_path_factory.mktemp("apiserver")) as server:
        server.install_crds()
        yield server


@pytest.mark.parametrize("watched", ["", "team"], ids=["cluster-wide", "one namespace"])
def test_the_charts_rights_are_enough(server: ApiServer, tmp_path: Path, watched: str) -> None:
    system, team = f"system-{watched or 'all'}", watched or "anywhere"
    for namespace in (system, team):
        server.kubectl("create", "namespace", namespace)
    install_rights(server, system, watched)
    server.kubectl("apply", "-n", team, "-f", "-", stdin=CLAIM)
    operator = as_service_account(server, tmp_path, system, watched).start()
    try:
        for plural in PLURALS:
            server.kubectl("apply", "-n", team, "-f", str(SMALLEST / f"{plural}.yaml"))
        # Without a gate and with a model that can be had, the guarded deployment starts at once as well.
        spec = {
            "gate": {"evalRefs": None, "none": True},
            "model": {"finetuneRef": None, "source": {"uri": "hf://org/model"}},
        }
        patch = json.dumps({"spec": spec})
        server.kubectl("patch", "gdep", "assistant", "-n", team, "--type=merge", "-p", patch)
        for plural in PLURALS:
            until(lambda plural=plural: visited(server, team, plural), f"conditions of {plural}")
        wanted = {"SafetyEval", "SafetyBlend", "GuardedDeployment"}
        until(lambda: wanted <= kinds_with_jobs(server, team), f"Jobs of {wanted}")
        refused = re.findall(
            r'^safety_api_calls_total\{code="40[13]".*$', operator.get("/metrics").text, re.MULTILINE
        )
        assert refused == []
        account = f"system:serviceaccount:{system}:mso-model-safety-operator"
        # Asked for only where something does not move.
        assert "yes" in server.kubectl("auth", "can-i", "list", "events", "-n", team, "--as", account)
    finally:
        operator.stop()
    assert "forbidden" not in operator.log_file.read_text().lower()


def install_rights(server: ApiServer, system: str, watched: str) -> None:
    """Apply the chart's accounts, roles and bindings."""
    values = ["--set", f"watch.namespaces={{{watched}}}"] if watched else []
    command = [str(CACHE / "bin/helm"), "template", "mso", str(CHART), "--namespace", system, *values]
    if not (CACHE / "bin/helm").exists():
        subprocess.run([str(REPO / "hack/tools.sh"), "helm"], check=True)
    rendered = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    rights = [found for found in yaml.safe_load_all(rendered) if found and found["kind"] in RIGHTS]
    server.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(rights))


def as_service_account(server: ApiServer, folder: Path, system: str, watched: str) -> OperatorProcess:
    """The operator with the chart's account and no other rights."""
    token = server.kubectl("create", "token", "mso-model-safety-operator", "-n", system).strip()
    config: dict[str, Any] = yaml.safe_load(server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    environment = {"SAFETY_NAMESPACES": watched, "SAFETY_LEASE_NAME": "mso-model-safety-operator"}
    return OperatorProcess(kubeconfig, folder, system, environment=environment)


def visited(server: ApiServer, namespace: str, plural: str) -> bool:
    (found,) = server.http.get(f"{API}/namespaces/{namespace}/{plural}").json()["items"]
    status = found.get("status", {})
    return status.get("observedGeneration") == found["metadata"]["generation"] and bool(status["conditions"])


def kinds_with_jobs(server: ApiServer, namespace: str) -> set[str]:
    jobs = server.http.get(f"/apis/batch/v1/namespaces/{namespace}/jobs").json()["items"]
    return {job["metadata"]["labels"]["modelsafety.dev/kind"] for job in jobs}
