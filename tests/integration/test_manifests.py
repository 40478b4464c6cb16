"""What people apply, against a real API server: right manifests pass as they are, wrong ones are told why."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.codegen.checks import MAX_CRD_BYTES
from hack.codegen.crd import applied_bytes
from tests.integration.apiserver import API, REPO, STRICT, ApiServer
from tests.manifests import MANIFESTS, Wrong, wrong_manifests

PLURALS = {
    "SafetyEval": "safetyevals",
    "SafetyBlend": "safetyblends",
    "SafetyFinetune": "safetyfinetunes",
    "GuardedDeployment": "guardeddeployments",
}
SMALLEST = [MANIFESTS / f"smallest/{plural}.yaml" for plural in PLURALS.values()]
RIGHT = sorted((MANIFESTS / "right").glob("*.yaml"))
EXAMPLES = sorted(path for path in (REPO / "examples").rglob("*.yaml") if path.name != "kustomization.yaml")
KUSTOMIZATIONS = sorted((REPO / "examples").rglob("kustomization.yaml"))
LEAST_WRONG = 50


WRONG = wrong_manifests()


@pytest.fixture
def server(bare_server: ApiServer) -> ApiServer:
    return bare_server


@pytest.fixture
def namespace(server: ApiServer, request: pytest.FixtureRequest) -> str:
    name = "t-" + re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[-50:]
    server.kubectl("create", "namespace", name)
    return name


@pytest.mark.parametrize("path", [*RIGHT, *EXAMPLES], ids=lambda path: str(path.relative_to(REPO)))
def test_every_example_applies(server: ApiServer, path: Path) -> None:
    server.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(path))


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: str(path.relative_to(REPO)))
def test_every_example_folder_applies_at_once(server: ApiServer, path: Path) -> None:
    server.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-k", str(path.parent))


@pytest.mark.parametrize("path", sorted((REPO / "crds").glob("*.yaml")), ids=lambda path: path.stem)
def test_kubectl_keeps_a_schema_in_an_annotation_of_the_counted_size(server: ApiServer, path: Path) -> None:
    applied = server.kubectl("apply", "--dry-run=server", "-f", str(path), "-o", "json")
    kept = json.loads(applied)["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    counted = applied_bytes(yaml.safe_load(path.read_text()))
    added = len('"annotations":{},') + len("\n")
    assert len(kept.encode()) == counted + added
    assert len(kept.encode()) < MAX_CRD_BYTES


def test_there_are_enough_wrong_manifests() -> None:
    assert len(WRONG) >= LEAST_WRONG
    assert {wrong.kind for wrong in WRONG} == set(PLURALS)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.kind}: {wrong.case}")
def test_a_wrong_manifest_is_refused_with_a_message_that_says_why(server: ApiServer, wrong: Wrong) -> None:
    answer = server.post("default", PLURALS[wrong.kind], wrong.manifest, dry_run=True)
    assert answer.status_code in {400, 422}, answer.text
    assert wrong.expected in " ".join(answer.json()["message"].split())


SCAN = """
apiVersion: modelsafety.dev/v1alpha1
kind: SafetyEval
metadata: {name: scan}
spec:
  model: {source: {uri: hf://org/model}}
  sampling: {temperature: "0.6"}
  security:
    garak:
      probes: [tier1, tier2, dan, goodside.Tag]
      exclude: [packagehallucination]
      shards: 4
      generations: 5
  thresholds:
  - {metric: security.resilience, min: "0.6", bound: point}
  - {metric: security.encoding.InjectBase64, min: "0.9"}
"""


def test_a_scan_of_lists_families_and_probes_with_thresholds_on_any_of_them_is_accepted(
    server: ApiServer,
) -> None:
    answer = server.post("default", "safetyevals", SCAN, dry_run=True)
    assert answer.status_code == 201, answer.text


def test_kubectl_apply_itself_refuses_an_unknown_field(server: ApiServer) -> None:
    wrong = next(wrong for wrong in WRONG if "unknown field" in wrong.expected)
    with pytest.raises(AssertionError, match="unknown field"):
        server.kubectl("apply", "--dry-run=server", "-f", "-", stdin=wrong.manifest)


@pytest.mark.parametrize("path", SMALLEST, ids=lambda path: path.stem)
def test_the_smallest_manifest_gets_its_defaults_and_does_not_drift(
    server: ApiServer, namespace: str, path: Path
) -> None:
    first = _apply(server, namespace, path)
    second = _apply(server, namespace, path)
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert first["metadata"]["generation"] == 1
    schema = _schema(path.stem)["properties"]["spec"]
    assert _missing_defaults(schema, first["spec"], "spec") == []
    assert "status" not in first
    written = yaml.safe_load(path.read_text())["spec"]
    assert _changed_lists(written, first["spec"], "spec") == [], "defaults inside list items are drift"


def test_kubectl_get_modelsafety_shows_all_kinds(server: ApiServer, namespace: str) -> None:
    for path in SMALLEST:
        _apply(server, namespace, path)
    shown = server.kubectl("get", "modelsafety", "-n", namespace)
    assert all(f"{kind.lower()}.modelsafety.dev/" in shown for kind in PLURALS)
    for short in ("seval", "sblend", "sft", "gdep"):
        assert "READY" in server.kubectl("get", short, "-n", namespace)


def test_a_status_is_written_through_its_subresource_only(server: ApiServer, namespace: str) -> None:
    created = _apply(server, namespace, SMALLEST[0])
    path = f"{API}/namespaces/{namespace}/safetyevals/base"
    patch = {"status": {"observedGeneration": 1, "state": "Running", "summary": {"contentSafety": "0.93"}}}
    merge = {"Content-Type": "application/merge-patch+json"}
    server.http.patch(f"{path}?{STRICT}", json=patch, headers=merge).raise_for_status()
    assert "status" not in server.http.get(path).json()
    patched = server.http.patch(f"{path}/status?{STRICT}", json=patch, headers=merge).json()
    assert patched["status"] == patch["status"], "nothing is added by defaults"
    assert patched["metadata"]["generation"] == created["metadata"]["generation"]
    columns = server.kubectl("get", "seval", "base", "-n", namespace).splitlines()[1].split()
    assert columns[:3] == ["base", "Running", "0.93"]


def test_a_float_in_a_status_is_refused(server: ApiServer, namespace: str) -> None:
    _apply(server, namespace, SMALLEST[0])
    answer = server.http.patch(
        f"{API}/namespaces/{namespace}/safetyevals/base/status",
        json={"status": {"summary": {"contentSafety": 0.93}}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert "must be of type string" in answer.json()["message"]


def test_kubectl_scale_changes_the_replicas_of_a_guarded_deployment(
    server: ApiServer, namespace: str
) -> None:
    _apply(server, namespace, SMALLEST[3])
    server.kubectl("scale", "gdep/assistant", "--replicas=3", "-n", namespace)
    got = server.http.get(f"{API}/namespaces/{namespace}/guardeddeployments/assistant").json()
    assert got["spec"]["serving"]["replicas"] == 3
    assert got["metadata"]["generation"] == 2


def _apply(server: ApiServer, namespace: str, path: Path) -> dict[str, Any]:
    applied: dict[str, Any] = yaml.safe_load(
        server.kubectl("apply", "--server-side", "-n", namespace, "-o", "yaml", "-f", str(path))
    )
    return applied


def _schema(plural: str) -> dict[str, Any]:
    crd = yaml.safe_load((REPO / f"crds/modelsafety.dev_{plural}.yaml").read_text())
    schema: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _missing_defaults(schema: dict[str, Any], value: dict[str, Any], path: str) -> list[str]:
    missing = []
    for name, child in schema.get("properties", {}).items():
        if "default" in child and name not in value:
            missing.append(f"{path}.{name}")
        elif isinstance(value.get(name), dict):
            missing += _missing_defaults(child, value[name], f"{path}.{name}")
    return missing


def _changed_lists(written: Any, stored: Any, path: str) -> list[str]:
    if isinstance(written, list):
        return [] if written == stored else [path]
    if isinstance(written, dict):
        return [
            line for key in written for line in _changed_lists(written[key], stored[key], f"{path}.{key}")
        ]
    return []
