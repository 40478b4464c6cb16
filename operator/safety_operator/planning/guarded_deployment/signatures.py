"""The signatures of the evaluations that a gate names: a Job verifies them, the gate reads what it found."""

from dataclasses import replace

from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.eval_status import ReportStatus, SafetyEvalStatus
from safety_operator.api.guarded_deployment import GuardedDeploymentSpec
from safety_operator.api.guarded_gate import SignatureKey
from safety_operator.planning.engine.problems import Blocked, Problem
from safety_operator.planning.engine.products import (
    check_same_claim,
    find_finished,
    split_artifact,
)
from safety_operator.planning.engine.references import Reference, secret_reference, uri_reference
from safety_operator.planning.engine.stages import Decision, Run, Skipped, Work
from safety_operator.planning.guarded_deployment.endpoint import find_wanted
from safety_records.stages import SignedReport, VerifyStage

VERIFY = "verify"
"""Name of the stage."""
KEY_ENV = "SIGNATURE_PUBLIC_KEY"
WHERE = "spec.gate.requireSignature"


def signature_references(wanted: SignatureKey | None) -> tuple[Reference, ...]:
    """The public key."""
    if wanted is None:
        return ()
    found = secret_reference(f"{WHERE}.publicKeySecretRef", wanted.public_key_secret_ref, KEY_ENV, VERIFY)
    uri = _uri(wanted)
    return (*found, uri_reference(f"{WHERE}.configMapKeyRef", uri, VERIFY)) if uri else found


def _uri(wanted: SignatureKey) -> str:
    ref = wanted.config_map_key_ref
    return f"configmap://{ref.name}/{ref.key}" if ref else ""


def verify_signatures(run: Run[GuardedDeploymentSpec]) -> Decision:
    """The stage that verifies the reports of the gate's evaluations. Raises Blocked before they finish."""
    wanted = run.spec.gate.require_signature
    if wanted is None:
        return Skipped("the gate wants no signatures")
    model = find_wanted(run)
    reports = {ref.name: _find_report(run, ref.name) for ref in run.spec.gate.eval_refs}
    spec = VerifyStage(
        **run.base(),
        reports=tuple(
            SignedReport(name=name, folder=split_artifact(report.uri)[1]) for name, report in reports.items()
        ),
        model_digest=model.digest,
        public_key_env=KEY_ENV if wanted.public_key_secret_ref else "",
        public_key_uri=_uri(wanted),
    )
    digests = {f"report-{name}": report.digest for name, report in reports.items()}
    inputs, secret = run.inputs(VERIFY), wanted.public_key_secret_ref
    key = run.observed.secrets.get(secret.name) if secret else inputs.digest
    return Work(spec, inputs=digests | {"key": key or ""}, shape=replace(inputs.shape(), queued=False))


def _find_report(run: Run[GuardedDeploymentSpec], name: str) -> ReportStatus:
    """The report of an evaluation that has finished. Raises Blocked where there is none."""
    found = find_finished(run, SafetyEvalStatus, name, ConditionType.SUCCEEDED)
    report = found.status.report or ReportStatus()
    claim, path = split_artifact(report.uri)
    if not path:
        message = f"waiting for SafetyEval {name} to name its report"
        raise Blocked(Problem(Reason.WAITING_FOR_REFERENCE, message, stalled=False, reference=True))
    check_same_claim(run, claim, WHERE, f"SafetyEval {name}")
    return report
