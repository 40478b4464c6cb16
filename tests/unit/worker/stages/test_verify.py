"""The verify stage: what a gate with requireSignature takes for a signed evaluation, and what not."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.unit.worker.reporting.test_attestation import public_pem, signed
from tests.unit.worker.support.reports import DIGEST

from safety_records.attestation import ATTESTATION_NAME
from safety_records.stages import SignedReport, VerifyStage
from safety_worker.artifacts.store import ArtifactStore
from safety_worker.context import StageContext
from safety_worker.errors import InputError
from safety_worker.stages.verify import run

KEY = ed25519.Ed25519PrivateKey.generate()
OTHER = ed25519.Ed25519PrivateKey.generate()


def make_report_of(tmp_path: Path, *, verdict: str = "True", name: str = "x") -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    signed(folder, KEY, verdict=verdict, namespace="team", name=name)


def verified(tmp_path: Path, *, key: object = KEY, digest: str = DIGEST, pem: bytes | None = None) -> None:
    (tmp_path / "configmap/keys").mkdir(parents=True)
    (tmp_path / "configmap/keys/safety.pub").write_bytes(pem if pem is not None else public_pem(key))
    spec = VerifyStage(
        namespace="team",
        kind="GuardedDeployment",
        name="assistant",
        inputs_hash="1",
        root=f"file://{tmp_path}",
        out="out",
        reports=(SignedReport(name="x", folder="report"),),
        model_digest=digest,
        public_key_uri="configmap://keys/safety.pub",
    )
    context = StageContext(ArtifactStore(spec.root), tmp_path, report_progress=lambda _: None)
    assert run(spec, context).failure is None


def test_a_report_that_passed_and_is_signed_by_the_key_is_verified(tmp_path: Path) -> None:
    make_report_of(tmp_path)
    verified(tmp_path)


def test_another_key_is_refused(tmp_path: Path) -> None:
    make_report_of(tmp_path)
    with pytest.raises(InputError, match="no statement about a safety report is signed by the key"):
        verified(tmp_path, key=OTHER)


def test_a_report_without_a_signature_says_how_to_sign(tmp_path: Path) -> None:
    make_report_of(tmp_path)
    (tmp_path / "report" / ATTESTATION_NAME).unlink()
    with pytest.raises(InputError, match=r"SafetyEval x is not signed.*signingKeySecretRef"):
        verified(tmp_path)


def test_another_model_is_refused(tmp_path: Path) -> None:
    make_report_of(tmp_path)
    with pytest.raises(InputError, match=r"is about the model sha256:.*, not about sha256:2222"):
        verified(tmp_path, digest="sha256:" + "2" * 64)


def test_a_signed_failure_is_no_pass(tmp_path: Path) -> None:
    make_report_of(tmp_path, verdict="False")
    with pytest.raises(InputError, match="the verdict is False"):
        verified(tmp_path)


def test_the_signed_report_of_another_evaluation_is_refused(tmp_path: Path) -> None:
    make_report_of(tmp_path, name="lenient")
    with pytest.raises(InputError, match="about SafetyEval team/lenient, not about team/x"):
        verified(tmp_path)


def test_a_file_that_was_changed_is_named(tmp_path: Path) -> None:
    make_report_of(tmp_path)
    with (tmp_path / "report/report.json").open("a") as stream:
        stream.write(" ")
    with pytest.raises(InputError, match=r"report\.json was changed after it was signed"):
        verified(tmp_path)


def test_what_is_no_key_is_said_to_be_none(tmp_path: Path) -> None:
    make_report_of(tmp_path)
    with pytest.raises(InputError, match="requireSignature names no public key in PEM"):
        verified(tmp_path, pem=b"hello")
