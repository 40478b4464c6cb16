"""``gate.requireSignature`` with the real API server, reports and verifying worker; nodes are fakes."""

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.integration.conftest import Starter, Team
from tests.integration.fake_kubelet import DIGEST
from tests.integration.gated import evaluation, gate, guarded, replicas, report, score
from tests.unit.worker.reporting.test_attestation import public_pem, signed
from tests.until import until

from safety_operator.state.labels import ANNOTATION_SPEC
from safety_records.attestation import ATTESTATION_NAME
from safety_worker.cli import INPUTS_VARIABLE, run_command
from safety_worker.termination import PATH_VARIABLE

KEY = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
NAME = "safety.pub"


class Claim:
    """The artifacts and the public key as folders; the worker verifies there, in this process."""

    def __init__(self, team: Team, folder: Path) -> None:
        self.team, self.folder = team, folder

    def publish(self, key: Ed25519PrivateKey) -> None:
        """The ConfigMap that the gate names, and its mount."""
        text = public_pem(key).decode()
        self.team.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "keys"}, "data": {NAME: text}}
        )
        mount = self.folder / "inputs/configmap/keys"
        mount.mkdir(parents=True, exist_ok=True)
        (mount / NAME).write_text(text)

    def sign(self, report: str, digest: str = DIGEST) -> Path:
        """A real report about a model, signed with KEY."""
        folder = self.folder / report
        folder.mkdir(parents=True)
        about = {"namespace": self.team.namespace, "name": "check"}
        return signed(folder, KEY, verdict="True", target={"uri": "m", "digest": digest}, **about)

    def verify(self) -> None:
        """The pod of the newest Job that verifies."""
        self.team.kubelet.carry_out("g", "verify", self._verify)

    def _verify(self, job: dict[str, Any]) -> tuple[int, str]:
        name = job["metadata"]["annotations"][ANNOTATION_SPEC]
        path = f"/api/v1/namespaces/{self.team.namespace}/configmaps/{name}"
        spec = json.loads(self.team.server.http.get(path).json()["data"]["spec.json"])
        file, words = self.folder / "spec.json", self.folder / "termination-log"
        file.write_text(json.dumps(spec | {"root": f"file://{self.folder}"}))
        environment = {INPUTS_VARIABLE: str(self.folder / "inputs"), PATH_VARIABLE: str(words)}
        return run_command(file, environment), words.read_text()


def test_only_a_report_that_its_key_signed_for_this_very_model_opens_the_gate(
    team: Team, start_operator: Starter, tmp_path: Path
):
    """Another key, a changed file, no signature, another model; each new key and report is verified."""
    operator = start_operator()
    claim = Claim(team, tmp_path)
    claim.publish(OTHER)
    key = {"configMapKeyRef": {"name": "keys", "key": NAME}}
    team.apply(evaluation(), guarded(requireSignature=key))
    team.kubelet.succeed("g", "fetch")
    score(team)
    folder = claim.sign(report(team))
    gate(team, "Unknown", "The signatures are not verified yet")
    claim.verify()
    gate(team, "False", "requireSignature", "SafetyEval check: no statement about a safety report is signed")

    with (folder / "report.json").open("a") as stream:
        stream.write(" ")
    claim.publish(KEY)
    claim.verify()
    gate(team, "False", "requireSignature", "SafetyEval check: report.json was changed after it was signed")

    folder = claim.sign(report(team, "0.81"))
    (folder / ATTESTATION_NAME).unlink()
    claim.verify()
    gate(team, "False", "the report of SafetyEval check is not signed", "report.signingKeySecretRef")

    other = "sha256:" + "2" * 64
    claim.sign(report(team, "0.82"), other)
    claim.verify()
    gate(team, "False", f"SafetyEval check: the statement is about the model {other}, not about {DIGEST}")
    assert replicas(team) == [], "nothing was served so far"

    claim.sign(report(team, "0.83"))
    claim.verify()
    operator.kill()
    start_operator("second")
    gate(team, "True", "check passed for", "Their signatures were verified.")
    until(lambda: replicas(team) == [1], "the model's pods", 60)
