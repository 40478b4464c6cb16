"""What a proof found: the conditions BypassClosed and RailsProven, and figures for the status."""

from dataclasses import replace
from decimal import Decimal

from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.guarded_gate import ProofStatus
from safety_operator.api.guarded_model import GuardedModelEndpoint
from safety_operator.planning.engine.conditions import ConditionUpdate, shorten
from safety_operator.planning.guarded_deployment.endpoint import endpoint_bypass
from safety_operator.planning.guarded_deployment.proof import ProofView
from safety_operator.state.reading import format_time
from safety_records.result import OutsideProbe, Proof

OUTSIDE_REMEDY = (
    "Let pods of that namespace start and reach the guarded endpoint, or name another one "
    "(proof.probeNamespace of the operator's chart)."
)


def proof_updates(
    view: ProofView, min_benign: Decimal, endpoint: GuardedModelEndpoint | None = None
) -> list[ConditionUpdate]:
    """The conditions BypassClosed and RailsProven; ``endpoint``: the model's, where others serve it.

    Every unsafe prompt has to be blocked; of the benign ones at least the share ``min_benign`` (0 to 1)
    has to be answered, because rails that block everything prove nothing.
    """
    proof = view.proof
    if proof is None:
        problem = view.view.problem if view.view else None
        reason = problem.reason if problem else Reason.PENDING
        message = problem.message if problem else "Not proved yet."
        return [
            ConditionUpdate(type_, "Unknown", reason, message)
            for type_ in (ConditionType.BYPASS_CLOSED, ConditionType.RAILS_PROVEN)
        ]
    bypass = endpoint_bypass(endpoint, proof) if endpoint else _bypass(proof)
    return [_aged(item, view.overdue) for item in (bypass, _rails(proof, min_benign))]


def is_good(update: ConditionUpdate) -> bool:
    """Whether a condition is as good as it can be: of a server of others nothing better is ever known."""
    return update.status == "True" or update.reason == Reason.ENDPOINT_NOT_OWNED


def _aged(update: ConditionUpdate, overdue: str) -> ConditionUpdate:
    """What an old proof is still worth: what was wrong stays wrong, what was right is not known any more."""
    if not overdue:
        return update
    if is_good(update):
        return ConditionUpdate(update.type, "Unknown", Reason.PROOF_OVERDUE, overdue)
    return replace(update, message=f"{update.message} {overdue}")


def _bypass(proof: Proof) -> ConditionUpdate:
    """Closed where both namespaces say so, open where one does."""
    type_ = ConditionType.BYPASS_CLOSED
    outside = proof.outside or OutsideProbe()
    if proof.bypass_closed is not False and outside.closed is False:
        return ConditionUpdate(type_, "False", Reason.PROOF_FAILED, _open_outside(outside))
    if proof.bypass_closed is None:
        return ConditionUpdate(
            type_, "Unknown", Reason.PROOF_FAILED, f"The bypass probe failed: {proof.bypass_detail}"
        )
    if proof.bypass_closed and outside.namespace and outside.closed is None:
        words = f"The bypass probe from namespace {outside.namespace} failed: {outside.detail}. "
        return ConditionUpdate(type_, "Unknown", Reason.PROOF_FAILED, f"{words}{OUTSIDE_REMEDY}")
    if proof.bypass_closed:
        detail = proof.bypass_detail or "the model answers its guardrails only"
        words = f"The bypass probe of the direct endpoint was refused: {detail}. {_from_where(outside)}"
        return ConditionUpdate(type_, "True", Reason.PROVEN, words)
    return ConditionUpdate(
        type_,
        "False",
        Reason.PROOF_FAILED,
        f"The model answered a pod that is no guardrails pod: {proof.bypass_detail or 'no detail'}. "
        "Use a network plugin that enforces NetworkPolicy.",
    )


def _from_where(outside: OutsideProbe) -> str:
    if outside.closed:
        return f"From namespace {outside.namespace}, too: {outside.detail}."
    why = outside.detail or "the proof is of an operator that tried no other"
    return f"It was tried from this namespace only: {why}."


def _open_outside(outside: OutsideProbe) -> str:
    return (
        f"The model answered a pod of namespace {outside.namespace}: {outside.detail}. Use a network plugin "
        "that enforces NetworkPolicy, and remove policies that let other namespaces in."
    )


def _rails(proof: Proof, min_benign: Decimal) -> ConditionUpdate:
    text = (
        f"{proof.unsafe_blocked}/{proof.unsafe_total} unsafe prompts blocked, "
        f"{proof.benign_answered}/{proof.benign_total} benign prompts answered."
    )
    wanted = min_benign * proof.benign_total
    if proof.unsafe_blocked == proof.unsafe_total and proof.benign_answered >= wanted:
        return ConditionUpdate(ConditionType.RAILS_PROVEN, "True", Reason.PROVEN, text)
    unsafe, benign = proof.unsafe_blocked + proof.unsafe_silent, proof.benign_answered + proof.benign_silent
    if proof.silence and unsafe == proof.unsafe_total and benign >= wanted:
        words = f"{text} Not decided: {proof.silence}."
        return ConditionUpdate(ConditionType.RAILS_PROVEN, "Unknown", Reason.PROOF_FAILED, words)
    return ConditionUpdate(ConditionType.RAILS_PROVEN, "False", Reason.PROOF_FAILED, text)


def proof_status(view: ProofView) -> ProofStatus | None:
    """The last proof in figures."""
    proof = view.proof
    if proof is None:
        return None
    outside = proof.outside or OutsideProbe()
    seen = [proof.bypass_closed, *([outside.closed] if outside.namespace else [])]
    bypass = "Open" if False in seen else "Unknown" if None in seen else "Closed"
    is_outsides = bool(proof.bypass_closed and outside.namespace and not outside.closed)
    return ProofStatus.model_validate(
        {
            "at": format_time(view.at) if view.at else "",
            "unsafe_blocked": f"{proof.unsafe_blocked}/{proof.unsafe_total}",
            "benign_answered": f"{proof.benign_answered}/{proof.benign_total}",
            "bypass": bypass,
            "detail": shorten(outside.detail if is_outsides else proof.bypass_detail, 256),
        }
    )
