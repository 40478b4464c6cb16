"""verify: signature, model, resource, run and every file have to fit together."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.unit.cli.support import GivenResources, recording_console, text_of, with_scores
from tests.unit.worker.reporting.test_attestation import public_pem, signed
from tests.unit.worker.support.reports import DIGEST

from safety_cli.errors import CliError
from safety_cli.main import main
from safety_cli.verify import show
from safety_records.manifest import MANIFEST_NAME, Manifest
from safety_worker.artifacts.digests import build_manifest

KEY = ed25519.Ed25519PrivateKey.generate()
OTHER = ed25519.Ed25519PrivateKey.generate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A report as the worker's own report stage signs it."""
    made = tmp_path / "report"
    made.mkdir()
    signed(made, KEY)
    # What the stage leaves for the next run's retention is listed, but nobody is given it.
    (made / "folders.json").write_text("[]")
    manifest = build_manifest(made)
    (made / "folders.json").unlink()
    (made / MANIFEST_NAME).write_text(manifest.model_dump_json())
    return made


@pytest.fixture
def resource(folder: Path) -> dict[str, Any]:
    """The SafetyEval as the operator leaves it: it names the model and the digest of the report's folder."""
    found = with_scores("base", [], digest=DIGEST.removeprefix("sha256:"))
    found["metadata"] |= {"namespace": "team", "name": "base"}
    found["status"]["report"] = {"uri": "pvc://safety-artifacts/x", "digest": manifest_of(folder).digest}
    return found


def manifest_of(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())


def check(resource, folder, tmp_path, *, key=KEY, passed=False):
    public = tmp_path / "key.pub"
    public.write_bytes(public_pem(key))
    console = recording_console(200)
    name = resource["metadata"]["name"]
    code = show(console, GivenResources([resource]), name, public_key=public, folder=folder, passed=passed)
    return code, text_of(console)


def test_a_report_that_holds_is_verified_with_what_it_says(resource, folder, tmp_path):
    resource["metadata"] |= names_of(folder)
    code, text = check(resource, folder, tmp_path)
    assert code == 0, text
    assert text.startswith("verified: signed by key ")
    assert DIGEST in text
    assert "verdict: not passed" in text


def names_of(folder: Path) -> dict[str, str]:
    """Namespace and name that the report itself says."""
    from safety_records.report import Report  # noqa: PLC0415 - here only

    report = Report.model_validate_json((folder / "report.json").read_bytes())
    return {"namespace": report.namespace, "name": report.name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r, _: r["status"]["target"].update(digest="sha256:" + "2" * 64), "is about the model"),
        (lambda r, _: r["metadata"].update(namespace="elsewhere"), "not about elsewhere/"),
        (lambda r, _: r["status"]["report"].update(digest="sha256:" + "3" * 64), "another run's?"),
        (lambda r, _: r["status"].pop("report"), "it names none"),
        (lambda _, f: (f / "report.md").write_text("Passed"), "report.md was changed"),
        (lambda _, f: (f / "report.json.intoto.jsonl").unlink(), "is the report signed?"),
        (lambda _, f: (f / MANIFEST_NAME).unlink(), "manifest.json, which belongs to the report"),
    ],
)
def test_whatever_does_not_fit_is_not_verified(resource, folder, tmp_path, change, words):
    resource["metadata"] |= names_of(folder)
    change(resource, folder)
    code, text = check(resource, folder, tmp_path)
    assert code == 1
    assert text.startswith("NOT VERIFIED: ")
    assert words in text


def test_another_key_and_another_verdict_are_not_enough(resource, folder, tmp_path):
    resource["metadata"] |= names_of(folder)
    code, text = check(resource, folder, tmp_path, key=OTHER)
    assert (code, "no statement about a safety report is signed" in text) == (1, True)
    code, text = check(resource, folder, tmp_path, passed=True)
    assert (code, "it has not passed" in text) == (1, True)


def test_an_unfinished_evaluation_cannot_be_verified(resource, folder, tmp_path):
    resource["status"].pop("target")
    with pytest.raises(CliError, match="does not say which model"):
        check(resource, folder, tmp_path)


def test_a_key_that_is_none_says_how_to_make_one(resource, folder, tmp_path):
    console, kubectl = recording_console(), GivenResources([resource])
    bad = tmp_path / "bad.pub"
    bad.write_text("nonsense")
    with pytest.raises(CliError, match="openssl pkey"):
        show(console, kubectl, "base", public_key=bad, folder=folder, passed=False)
    with pytest.raises(CliError, match="No such file"):
        show(console, kubectl, "base", public_key=tmp_path / "none", folder=folder, passed=False)


def check_alone(folder, tmp_path, *, digest=DIGEST, passed=False):
    """Without a resource, and so without a cluster."""
    public = tmp_path / "key.pub"
    public.write_bytes(public_pem(KEY))
    command = ["verify", "--folder", str(folder), "--public-key", str(public), "--model-digest", digest]
    return main([*command, *(["--passed"] if passed else [])])


def test_a_copied_report_is_verified_without_a_cluster(folder, tmp_path, capsys):
    assert check_alone(folder, tmp_path) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "verified: signed by key" in said
    assert DIGEST in said
    assert "verdict: not passed (3 thresholds)" in said


def test_a_copied_report_fails_for_another_model_verdict_or_text(folder, tmp_path, capsys):
    assert check_alone(folder, tmp_path, digest="sha256:" + "2" * 64) == 1
    assert "is about the model" in capsys.readouterr().out
    assert check_alone(folder, tmp_path, passed=True) == 1
    (folder / "report.md").write_text("Passed")
    assert check_alone(folder, tmp_path) == 1
    assert "NOT VERIFIED: report.md was changed" in capsys.readouterr().out


def test_what_is_verified_has_to_be_said(folder, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        check_alone(folder, tmp_path, digest="abc")
    assert "write sha256: and 64 hexadecimal digits" in capsys.readouterr().err
    key = ["--public-key", str(tmp_path / "key.pub")]
    assert main(["verify", *key]) == 2
    assert main(["verify", "base", *key, "--model-digest", DIGEST]) == 2
    assert "the resource says which model it evaluated" in capsys.readouterr().err
