"""The signed statement: what it says, and that nothing about it can be changed unseen."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from tests.unit.worker.support.reports import DIGEST, make_report

from safety_attestation.verification import (
    VerificationFailedError,
    load_public_key,
    verify,
)
from safety_records.attestation import ATTESTATION_NAME
from safety_worker.errors import InputError
from safety_worker.reporting.attestation import build_statement, load_signer, sign
from safety_worker.stages.report import write_report

SCHEMA = Path(__file__).parents[4] / "docs/reference/attestation.schema.json"


def pem(key: Any) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


KEY = ed25519.Ed25519PrivateKey.generate()
OTHER = ed25519.Ed25519PrivateKey.generate()
PUBLIC = load_public_key(public_pem(KEY))


def signed(folder: Path, key: Any = KEY, **changes: Any) -> Path:
    """A folder with a report and its statement."""
    report = make_report(**changes)
    names = write_report(report, folder)
    text = sign(build_statement(report, folder, names), load_signer(pem(key)))
    (folder / ATTESTATION_NAME).write_text(text)
    return folder


def statement_of(folder: Path) -> dict[str, Any]:
    envelope = json.loads((folder / ATTESTATION_NAME).read_text())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    found: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
    return found


def test_the_statement_is_about_the_model_and_covers_every_file(tmp_path: Path) -> None:
    statement = statement_of(signed(tmp_path))
    fastjsonschema.validate(json.loads(SCHEMA.read_text()), statement)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "text", "digest": {"sha256": "1" * 64}}]
    predicate = statement["predicate"]
    assert predicate["verdict"] == "False"
    covered = {file["name"] for file in predicate["files"]}
    assert covered == {path.name for path in tmp_path.iterdir()} - {ATTESTATION_NAME}
    assert predicate["inputs"] == [{"name": "demo/x", "digest": {"sha256": "2" * 64}}]


def test_the_signature_is_over_the_dsse_encoding(tmp_path: Path) -> None:
    """As the protocol defines it, without the library that made it."""
    envelope = json.loads((signed(tmp_path) / ATTESTATION_NAME).read_text())
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    KEY.public_key().verify(base64.b64decode(envelope["signatures"][0]["sig"]), encoded)


@pytest.mark.parametrize(
    "key",
    [KEY, ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)],
    ids=["ed25519", "ecdsa", "rsa"],
)
def test_what_a_key_signed_verifies_with_its_public_half_only(tmp_path: Path, key: Any) -> None:
    signed(tmp_path, key)
    found = verify(tmp_path, load_public_key(public_pem(key)), DIGEST)
    assert found.files[0] == "report.json"
    with pytest.raises(
        VerificationFailedError, match="no statement about a safety report is signed by the key"
    ):
        verify(tmp_path, load_public_key(public_pem(OTHER)))


def change_text(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def change_payload(folder: Path) -> None:
    path = folder / ATTESTATION_NAME
    envelope = json.loads(path.read_text())
    payload = base64.b64decode(envelope["payload"]).replace(b'"verdict":"False"', b'"verdict":"True"')
    path.write_text(json.dumps(envelope | {"payload": base64.b64encode(payload).decode()}))


def change_payload_type(folder: Path) -> None:
    change_text(folder, ATTESTATION_NAME, "application/vnd.in-toto+json", "application/json")


def escape_folder(folder: Path) -> None:
    """A statement that is signed all right, but names a file elsewhere."""
    report = make_report()
    statement = build_statement(report, folder, ["report.json"])
    file = statement.predicate.files[0].model_copy(update={"name": "../report.json"})
    (folder.parent / "report.json").write_bytes((folder / "report.json").read_bytes())
    predicate = statement.predicate.model_copy(update={"files": (*statement.predicate.files, file)})
    text = sign(statement.model_copy(update={"predicate": predicate}), load_signer(pem(KEY)))
    (folder / ATTESTATION_NAME).write_text(text)


def contradict(folder: Path) -> None:
    """A statement of the right key about another verdict than the report's."""
    statement = build_statement(make_report(verdict="True"), folder, ["report.json"])
    (folder / ATTESTATION_NAME).write_text(sign(statement, load_signer(pem(KEY))))


def cover_little(folder: Path) -> None:
    statement = build_statement(make_report(), folder, ["report.html"])
    (folder / ATTESTATION_NAME).write_text(sign(statement, load_signer(pem(KEY))))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda f: change_text(f, "report.json", '"passed": false', '"passed": true'),
            "report.json was changed",
        ),
        (lambda f: change_text(f, "report.html", "Not passed", "Passed"), "report.html was changed"),
        (lambda f: (f / "report.sarif").unlink(), "report.sarif is missing"),
        (lambda f: (f / ATTESTATION_NAME).unlink(), "is the report signed?"),
        (lambda f: (f / ATTESTATION_NAME).write_text("{}\nnonsense\n[1]\nnull\n"), "no statement"),
        (lambda f: (f / ATTESTATION_NAME).write_bytes(b"\xff\xfe"), "cannot be read"),
        (change_payload, "no statement"),
        (change_payload_type, "no statement"),
        (escape_folder, "../report.json is missing"),
        (contradict, "contradict each other"),
        (cover_little, "does not cover report.json"),
    ],
)
def test_anything_that_was_changed_is_found(
    tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    signed(folder)
    verify(folder, PUBLIC)
    spoil(folder)
    with pytest.raises(VerificationFailedError, match=words.replace("?", r"\?").replace("..", r"\.\.")):
        verify(folder, PUBLIC)


def test_other_lines_of_a_bundle_are_passed_over(tmp_path: Path) -> None:
    signed(tmp_path, OTHER)
    foreign = (tmp_path / ATTESTATION_NAME).read_text()
    signed(tmp_path)
    own = (tmp_path / ATTESTATION_NAME).read_text()
    (tmp_path / ATTESTATION_NAME).write_text(f"not json\n{'[' * 100_000}\n{foreign}{own}")
    assert verify(tmp_path, PUBLIC).key_id == PUBLIC.keyid


@pytest.mark.parametrize("verdict", ["False", "Unknown"])
def test_only_a_pass_is_a_pass(tmp_path: Path, verdict: str) -> None:
    signed(tmp_path, verdict=verdict)
    with pytest.raises(VerificationFailedError, match=f"the verdict is {verdict}"):
        verify(tmp_path, PUBLIC, passed=True)


def test_a_statement_about_another_model_is_refused(tmp_path: Path) -> None:
    signed(tmp_path)
    with pytest.raises(VerificationFailedError, match=r"is about the model sha256:1+, not about sha256:2+"):
        verify(tmp_path, PUBLIC, "sha256:" + "2" * 64)


ENCRYPTED = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()
AGREEMENT_ONLY = pem(x25519.X25519PrivateKey.generate())


@pytest.mark.parametrize("text", ["", "nonsense", public_pem(KEY).decode(), ENCRYPTED, AGREEMENT_ONLY])
def test_a_key_that_cannot_sign_is_refused_in_words_and_never_quoted(text: str) -> None:
    with pytest.raises(InputError, match=r"report\.signingKeySecretRef.*openssl genpkey") as caught:
        load_signer(text)
    assert caught.value.reason == "InvalidSigningKey"
    assert caught.value.__cause__ is None
    assert "BEGIN" not in str(caught.value)


def test_a_model_without_a_digest_cannot_be_signed_for(tmp_path: Path) -> None:
    report = make_report(target={"uri": "http://host/v1", "digest": ""})
    names = write_report(report, tmp_path)
    with pytest.raises(InputError, match=r"Set model\.endpoint\.digest"):
        build_statement(report, tmp_path, names)
