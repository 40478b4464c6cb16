"""A statement about a safety report, checked: signature, model, verdict, and every file of the report.

A DSSE envelope (https://github.com/secure-systems-lab/dsse) is verified by securesystemslib with a public key
that whoever verifies has from elsewhere. Left out: making them (the worker's ``reporting.attestation``).
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import ValidationError
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, VerificationError
from securesystemslib.signer import Key, SSlibKey

from safety_records.attestation import ATTESTATION_NAME, PAYLOAD_TYPE, ResourceDescriptor, SafetyStatement
from safety_records.report import Report


class PublicKeyError(ValueError):
    """There is no public key where one should be; the message says what to do."""


class VerificationFailedError(Exception):
    """The statement does not say what was asked for; the message says why."""


class Verified(NamedTuple):
    """A statement that holds."""

    statement: SafetyStatement
    key_id: str
    files: Sequence[str]
    """Files of the report that were compared."""


def load_public_key(pem: bytes) -> Key:
    """The public key of a PEM file.

    Raises
    ------
    PublicKeyError
        If it holds none.
    """
    try:
        return SSlibKey.from_crypto(load_pem_public_key(pem))
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise PublicKeyError(
            "--public-key: the file holds no public key in PEM. Make it with: "
            "openssl pkey -in key.pem -pubout",
        ) from error


def verify(folder: Path, key: Key, model_digest: str = "", *, passed: bool = False) -> Verified:
    """The statement of a report, if everything about it holds.

    Parameters
    ----------
    folder
        The report's folder.
    key
        The key that has to have signed it.
    model_digest
        The model that it has to be about, ``sha256:`` and 64 hexadecimal digits; empty: any.
    passed
        Whether the verdict has to be that the model passed.

    Raises
    ------
    VerificationFailedError
        If there is no such statement, or a file of the report differs from it.
    """
    statement = _signed_statement(_read(folder / ATTESTATION_NAME), key)
    digests = {f"{name}:{value}" for item in statement.subject for name, value in item.digest.items()}
    if model_digest and model_digest not in digests:
        raise VerificationFailedError(
            f"the statement is about the model {', '.join(sorted(digests))}, not about {model_digest}"
        )
    for file in statement.predicate.files:
        _check_file(folder, file)
    _check_report(folder, digests, statement)
    if passed and statement.predicate.verdict != "True":
        raise VerificationFailedError(f"the verdict is {statement.predicate.verdict}: it has not passed")
    return Verified(statement, key.keyid, [file.name for file in statement.predicate.files])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise VerificationFailedError(f"{path.name} cannot be read: is the report signed?") from error


def _signed_statement(bundle: str, key: Key) -> SafetyStatement:
    """The first statement of a bundle that the key has signed; other lines are passed over (in-toto)."""
    for line in bundle.splitlines():
        try:
            envelope = Envelope.from_dict(json.loads(line))
            envelope.verify([key], threshold=1)
        except (
            *(ValueError, KeyError, TypeError, AttributeError, RecursionError),
            *(FormatError, VerificationError),
        ):
            continue
        if envelope.payload_type != PAYLOAD_TYPE:
            continue
        try:
            return SafetyStatement.from_text(envelope.payload)
        except ValidationError:
            continue
    raise VerificationFailedError(f"no statement about a safety report is signed by the key {key.keyid}")


def _check_file(folder: Path, file: ResourceDescriptor) -> None:
    path = folder / file.name
    if path.parent != folder or not path.is_file():
        raise VerificationFailedError(f"{file.name} is missing")
    if _sha256(path) != file.digest.get("sha256"):
        raise VerificationFailedError(f"{file.name} was changed after it was signed")


def _check_report(folder: Path, digests: set[str], statement: SafetyStatement) -> None:
    """The report itself has to say what the statement says of it."""
    names = [file.name for file in statement.predicate.files]
    if "report.json" not in names:
        raise VerificationFailedError("the statement does not cover report.json")
    try:
        report = Report.from_text((folder / "report.json").read_bytes())
    except ValidationError as error:
        raise VerificationFailedError("report.json is no report of a known version") from error
    if report.target.digest not in digests or report.verdict != statement.predicate.verdict:
        raise VerificationFailedError("report.json and the statement contradict each other")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
