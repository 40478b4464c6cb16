"""The signed statement about a report: in-toto Statement v1 in a DSSE envelope, one line of a bundle.

Signed by securesystemslib with a key of the user's own (Ed25519, ECDSA or RSA in PEM). Whoever
trusts the key learns which model, by digest, got which verdict, and that no file of the report was changed.
Left out: verifying (``safety_attestation``).
"""

import json
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from safety_records.attestation import (
    PAYLOAD_TYPE,
    ResourceDescriptor,
    SafetyReportPredicate,
    SafetyStatement,
)
from safety_records.report import Report
from safety_worker.artifacts.digests import sha256_file
from safety_worker.errors import InputError

HOW_TO_MAKE = "openssl genpkey -algorithm ed25519 -out key.pem"


def load_signer(pem: str) -> CryptoSigner:
    """The signer of a private key in PEM.

    Raises
    ------
    InputError
        If it is no unencrypted private key of a kind that can sign.
    """
    try:
        key = load_pem_private_key(pem.encode(), password=None)
        return CryptoSigner(key)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        # The cause is left out: it might quote the key.
        raise InputError(
            "InvalidSigningKey",
            "report.signingKeySecretRef: the Secret holds no unencrypted private key in PEM that can sign "
            f"({type(error).__name__}). Make one with: {HOW_TO_MAKE}",
        ) from None


def build_statement(report: Report, folder: Path, names: Sequence[str]) -> SafetyStatement:
    """The statement about a report whose files are in a folder.

    Raises
    ------
    InputError
        If the model has no digest: a statement needs a subject.
    """
    algorithm, _, digest = report.target.digest.partition(":")
    if not digest:
        raise InputError(
            "NoModelDigest",
            "report.signingKeySecretRef: a signed report names the model by its digest, and this endpoint "
            "states none. Set model.endpoint.digest, or remove the key.",
        )
    predicate = SafetyReportPredicate(
        namespace=report.namespace,
        name=report.name,
        created_at=report.created_at,
        verdict=report.verdict,
        thresholds=report.thresholds,
        scores=report.scores,
        files=tuple(
            ResourceDescriptor(name=name, digest={"sha256": sha256_file(folder / name)}) for name in names
        ),
        inputs=tuple(
            ResourceDescriptor(name=item.path, digest={"sha256": item.digest.removeprefix("sha256:")})
            for item in report.artifacts
        ),
        versions=report.versions,
    )
    subject = ResourceDescriptor(name=report.target.uri, digest={algorithm: digest})
    return SafetyStatement(subject=(subject,), predicate=predicate)


def sign(statement: SafetyStatement, signer: CryptoSigner) -> str:
    """The statement in a signed envelope, as a line of a bundle."""
    payload = json.dumps(statement.model_dump(mode="json", by_alias=True), separators=(",", ":"))
    envelope = Envelope(payload.encode(), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict()) + "\n"
