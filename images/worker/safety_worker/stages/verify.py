"""The verify stage: the signed statements of the reports that a gate rests on.

Each has to be signed by the key that the gate names, to be about this SafetyEval and this model, to say that
the model passed, and to fit every file of its report.
"""

import json
from importlib.metadata import version

from safety_attestation.verification import (
    PublicKeyError,
    VerificationFailedError,
    Verified,
    load_public_key,
    verify,
)
from safety_records.attestation import ATTESTATION_NAME
from safety_records.result import StageResult
from safety_records.stages import SignedReport, VerifyStage
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.context import StageContext
from safety_worker.errors import InputError
from safety_worker.transport.uris import local_path

VERIFIED_NAME = "verified.json"
"""Which reports were verified, by which key."""


def run(spec: VerifyStage, context: StageContext) -> StageResult:
    """Verify all reports. Raises InputError for the first that does not hold."""
    pem = _public_key(spec, context)
    found = {report.name: _verify(spec, context, report, pem) for report in spec.reports}
    records = {
        name: {"keyId": verified.key_id, "files": list(verified.files)} for name, verified in found.items()
    }
    atomic_write_text(context.store.output(spec.out) / VERIFIED_NAME, json.dumps(records, indent=1))
    versions = {"securesystemslib": version("securesystemslib")}
    return StageResult(stage="verify", inputs_hash=spec.inputs_hash, versions=versions)


def _public_key(spec: VerifyStage, context: StageContext) -> bytes:
    if spec.public_key_env:
        return context.secret(spec.public_key_env).encode()
    return local_path(spec.public_key_uri, context.inputs).read_bytes()


def _verify(spec: VerifyStage, context: StageContext, report: SignedReport, pem: bytes) -> Verified:
    folder = context.store.path(report.folder)
    if not (folder / ATTESTATION_NAME).is_file():
        raise InputError(
            "SignatureNotVerified",
            f"the report of SafetyEval {report.name} is not signed ({report.folder} has no "
            f"{ATTESTATION_NAME}). Name a key in spec.report.signingKeySecretRef of the SafetyEval, and "
            "evaluate again.",
        )
    try:
        found = verify(folder, load_public_key(pem), spec.model_digest, passed=True)
        _check_name(spec, report, found)
    except PublicKeyError as error:
        raise InputError(
            "SignatureNotVerified",
            "spec.gate.requireSignature names no public key in PEM (openssl pkey -pubout)",
        ) from error
    except VerificationFailedError as error:
        raise InputError(
            "SignatureNotVerified", f"the report of SafetyEval {report.name}: {error}"
        ) from error
    return found


def _check_name(spec: VerifyStage, report: SignedReport, found: Verified) -> None:
    """A signed report of another evaluation of the same model may have had other thresholds."""
    meant, predicate = f"{spec.namespace}/{report.name}", found.statement.predicate
    if meant != f"{predicate.namespace}/{predicate.name}":
        raise VerificationFailedError(
            f"the statement is about SafetyEval {predicate.namespace}/{predicate.name}, not about {meant}"
        )
