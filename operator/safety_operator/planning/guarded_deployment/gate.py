"""The gate of a GuardedDeployment: only a model that passed, and only while its passing is recent enough."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from safety_operator.api.answer_settings import describe_differences
from safety_operator.api.common import Serving
from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.eval_status import SafetyEvalStatus
from safety_operator.api.guarded_deployment import GuardedDeploymentSpec
from safety_operator.api.guarded_rollout import Revision
from safety_operator.api.pods import EvalPods
from safety_operator.children.pod_options import effective_options
from safety_operator.planning.engine.conditions import ConditionUpdate
from safety_operator.planning.engine.problems import UnmetRuleError, attempt, capital
from safety_operator.planning.engine.products import Other, find_reference
from safety_operator.planning.engine.stages import Run, View
from safety_operator.planning.guarded_deployment.endpoint import explain_vouched, is_same_endpoint
from safety_operator.planning.guarded_deployment.revisions import young_enough
from safety_operator.planning.shared.durations import seconds_of
from safety_operator.planning.shared.models import served_with
from safety_operator.state.keys import Key, Manifest
from safety_operator.state.reading import format_time, known_digest, parse_time, value_at
from safety_records.result import Truth


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Whether the gate is open, and when that has to be asked again."""

    update: ConditionUpdate
    expires: datetime | None = None
    """When the oldest evaluation that counts becomes too old."""
    evaluated_at: datetime | None = None
    """When the oldest evaluation that opens it had finished."""

    @property
    def open(self) -> bool:
        """Whether the model may be served."""
        return self.update.status == "True"

    @property
    def shut(self) -> bool:
        """Whether the model must not be served, as opposed to not being known yet."""
        return self.update.status == "False"


def decide_gate(run: Run[GuardedDeploymentSpec], digest: str, signatures: View | None = None) -> GateDecision:
    """What the evaluations say about the model of a digest.

    ``signatures``: the stage that verifies those of their reports, where the gate wants signatures.
    """
    gate = run.spec.gate
    if not gate.eval_refs:
        if not gate.none:
            raise UnmetRuleError("spec.gate names nothing")
        return GateDecision(_update("True", Reason.GATE_WAIVED, "The spec says gate: {none: true}."))
    answers = [_ask(run, ref.name, digest) for ref in gate.eval_refs]
    for status in ("False", "Unknown"):
        bad = [answer for answer in answers if answer.update.status == status]
        if bad:
            texts = " ".join(answer.update.message for answer in bad)
            return GateDecision(_update(status, bad[0].update.reason, texts), _earliest(answers))
    if gate.require_signature is not None and (signatures is None or not signatures.done):
        return GateDecision(_unverified(signatures), _earliest(answers))
    names = ", ".join(ref.name for ref in gate.eval_refs)
    signed = " Their signatures were verified." if gate.require_signature else ""
    message = f"{names} passed for {digest}.{signed}{_vouched(run)}"
    finished = min((answer.evaluated_at for answer in answers if answer.evaluated_at), default=None)
    return GateDecision(_update("True", Reason.THRESHOLDS_MET, message), _earliest(answers), finished)


def _unverified(signatures: View | None) -> ConditionUpdate:
    """That a signature is not verified: it does not hold, or that is not known yet."""
    problem = signatures.problem if signatures else None
    if problem is not None and problem.failed:
        return _update("False", Reason.GATE_NOT_PASSED, f"spec.gate.requireSignature: {problem.message}")
    words = problem.message if problem else signatures.text if signatures else ""
    message = f"The signatures are not verified yet: {words}".rstrip(": .")
    return _update("Unknown", problem.reason if problem else Reason.PENDING, f"{message}.")


def _vouched(run: Run[GuardedDeploymentSpec]) -> str:
    """Which evaluations rest on a digest that somebody vouched for; empty: none."""
    if run.spec.model.endpoint is not None:
        return explain_vouched(run.spec.model.endpoint)
    names = [ref.name for ref in run.spec.gate.eval_refs if is_vouched(find_evaluation(run, ref.name))]
    if not names:
        return ""
    return (
        f" vouched: {', '.join(names)} asked an endpoint, and the digest is the one that its "
        "spec.model.endpoint.digest names."
    )


def find_evaluation(run: Run[GuardedDeploymentSpec], name: str) -> Manifest | None:
    """The SafetyEval of a name; None where there is none."""
    return run.observed.references.get(Key("SafetyEval", run.owner.namespace, name))


def is_vouched(evaluation: Manifest | None) -> bool:
    """Whether the digest of what was evaluated is one that a person names, not one of files."""
    return bool(value_at(evaluation, "spec", "model", "endpoint"))


def _earliest(answers: Sequence[GateDecision]) -> datetime | None:
    return min((answer.expires for answer in answers if answer.expires), default=None)


def _update(status: Truth, reason: str, message: str) -> ConditionUpdate:
    return ConditionUpdate(ConditionType.GATE_PASSED, status, reason, message)


def _waiting(message: str) -> GateDecision:
    return GateDecision(_update("Unknown", Reason.WAITING_FOR_REFERENCE, message))


def _shut(message: str) -> GateDecision:
    return GateDecision(_update("False", Reason.GATE_NOT_PASSED, message))


def _ask(run: Run[GuardedDeploymentSpec], name: str, digest: str) -> GateDecision:
    """What one evaluation says."""
    found, problem = attempt(find_reference, run, SafetyEvalStatus, name)
    if problem is not None:
        return _waiting(f"{capital(problem.message)}.")
    assert found is not None
    guarded = value_at(found.manifest, "spec", "model", "guardedDeploymentRef", "name")
    if guarded:
        return _shut(
            f"SafetyEval {name} is about GuardedDeployment {guarded} through its rails. Name an evaluation "
            "of the model itself in spec.gate.evalRefs."
        )
    if not found.is_true(ConditionType.SUCCEEDED):
        return _waiting(f"Waiting for SafetyEval {name} to finish ({found.status.state or 'Pending'}).")
    reason = _no_verdict_on(run, found, name, digest)
    return _shut(reason) if reason else _check_age(run, name, found)


def _no_verdict_on(
    run: Run[GuardedDeploymentSpec], found: Other[SafetyEvalStatus], name: str, digest: str
) -> str:
    """Why a finished evaluation does not say that the model may be served; empty: it does."""
    if run.spec.gate.require_measured and is_vouched(found.manifest):
        return (
            f"SafetyEval {name} asked an endpoint, whose digest somebody vouched for, and "
            "spec.gate.requireMeasured wants one of the model's own files. Evaluate the model by "
            "model.source or model.finetuneRef."
        )
    evaluated = known_digest(found.status.target.digest) if found.status.target else ""
    endpoint = run.spec.model.endpoint
    if endpoint is not None and endpoint.digest is None:
        if not is_same_endpoint(endpoint, found.manifest):
            return (
                f"SafetyEval {name} is not about {endpoint.model} at {endpoint.url}, and without "
                "spec.model.endpoint.digest nothing else can be compared. Evaluate that url and model, or "
                "name the digest in both."
            )
    elif evaluated != digest:
        return (
            f"SafetyEval {name} is about another model: it evaluated {evaluated or 'one without a digest'}, "
            f"to be served is {digest}. Evaluate this one."
        )
    differences = _served_otherwise(run, found)
    if differences:
        return (
            f"SafetyEval {name} asked this model at a server that answers otherwise than the one here: "
            f"{differences}. Evaluate it as it is to be served, or serve it as it was evaluated."
        )
    if not found.is_true(ConditionType.SAFETY_PASSED):
        verdict = found.status.condition(ConditionType.SAFETY_PASSED)
        words = f"{verdict.reason}: {verdict.message}" if verdict else f"{Reason.PENDING}: "
        return f"SafetyEval {name} did not pass: {words}"
    return ""


def _served_otherwise(run: Run[GuardedDeploymentSpec], found: Other[SafetyEvalStatus]) -> str:
    """What changes answers and differs; empty: nothing. How an endpoint serves a model nobody can see."""
    if is_vouched(found.manifest) or run.spec.model.endpoint is not None:
        return ""
    try:
        evaluated = _evaluated_with(run, found)
    except ValidationError:
        return "its spec.serving or spec.pod is not one of this version"
    here = served_with(run, run.spec.serving, run.options("server").env)
    return describe_differences(evaluated, here, ("evaluated", "to be served"))


def _evaluated_with(run: Run[GuardedDeploymentSpec], found: Other[SafetyEvalStatus]) -> Mapping[str, str]:
    """As the status says; by the spec where an earlier version wrote the status. Raises ValidationError."""
    target = found.status.target
    if target is not None and target.serving is not None:
        return target.serving
    serving = Serving.model_validate(value_at(found.manifest, "spec", "serving", default={}))
    pod = EvalPods.model_validate(value_at(found.manifest, "spec", "pod", default={}))
    return served_with(run, serving, effective_options(run.settings.pods, pod, "server").env)


def _finished_at(found: Other[SafetyEvalStatus]) -> datetime | None:
    """When the results were there. Of a schedule's later runs only the report knows: Succeeded stays True."""
    reported = [parse_time(stage.finished_at) for stage in found.status.stages if stage.name == "report"]
    succeeded = found.status.condition(ConditionType.SUCCEEDED)
    since = parse_time(succeeded.last_transition_time) if succeeded else None
    return next(filter(None, reported), since)


def _check_age(run: Run[GuardedDeploymentSpec], name: str, found: Other[SafetyEvalStatus]) -> GateDecision:
    finished = _finished_at(found)
    update = _update("True", Reason.THRESHOLDS_MET, f"SafetyEval {name} passed.")
    passed = GateDecision(update, evaluated_at=finished)
    max_age = run.spec.gate.max_age
    if max_age is None:
        return passed
    if finished is None:
        return _waiting(f"SafetyEval {name} does not say when it finished.")
    expires = finished + timedelta(seconds=seconds_of(max_age))
    if expires <= run.now:
        return _shut(
            f"SafetyEval {name} finished at {format_time(finished)}, longer ago than spec.gate.maxAge "
            f"({max_age}). Evaluate again."
        )
    return replace(passed, expires=expires)


def decide_pinned(run: Run[GuardedDeploymentSpec], revision: Revision, decided: GateDecision) -> GateDecision:
    """What holds for a revision that spec.rollout names, whose gate was open when it came into service.

    ``decided``: what the evaluations say about its model now; it counts where one of them is about it.
    """
    references = (find_evaluation(run, ref.name) for ref in run.spec.gate.eval_refs)
    evaluated = {known_digest(value_at(item, "status", "target", "digest")) for item in references}
    if decided.open or revision.model_digest in evaluated or not revision.gate:
        return decided
    what = f"Revision {revision.number} ({revision.model_digest}), which spec.rollout.modelDigest names,"
    if not young_enough(run, revision):
        return _shut(f"{what} was evaluated longer ago than spec.gate.maxAge ({run.spec.gate.max_age}).")
    message = f"{what} passed when it came into service at {revision.served_at}: {revision.gate}"
    return GateDecision(
        _update("True", Reason.THRESHOLDS_MET, message), evaluated_at=parse_time(revision.evaluated_at)
    )
