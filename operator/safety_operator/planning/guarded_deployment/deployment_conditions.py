"""The conditions of a GuardedDeployment, and Ready, which rests on them."""

import re
from decimal import Decimal

from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.planning.engine.conditions import ConditionUpdate, Readiness
from safety_operator.planning.engine.problems import capital
from safety_operator.planning.guarded_deployment.blue_green import ROOM, promoted
from safety_operator.planning.guarded_deployment.deployment_parts import Parts
from safety_operator.planning.guarded_deployment.deployment_view import DeploymentView
from safety_operator.planning.guarded_deployment.endpoint import endpoint_ready
from safety_operator.planning.guarded_deployment.exposure import exposed
from safety_operator.planning.guarded_deployment.own_config import engine_of
from safety_operator.planning.guarded_deployment.proof_findings import is_good, proof_updates
from safety_operator.planning.guarded_deployment.rails_config import config_hash
from safety_operator.planning.guarded_deployment.rollouts import Rollout
from safety_operator.state.reading import format_time

OLD_FIRST = "with spec.serving.updateStrategy {type: Recreate} the old pod goes first."
"""What helps where an update finds no accelerator free besides those of the pods that it replaces."""


def find_conditions(view: DeploymentView) -> list[ConditionUpdate]:
    """The conditions of this kind."""
    return [
        view.gate.update,
        _model_ready(view),
        _rails_ready(view),
        *filter(None, [promoted(view.tracks)]),
        *proof_conditions(view),
        *filter(None, [exposed(view.parts)]),
    ]


def proof_conditions(view: DeploymentView) -> list[ConditionUpdate]:
    """BypassClosed and RailsProven."""
    return proof_updates(view.proof, Decimal(view.parts.run.spec.proof.min_benign), view.parts.others)


def proven_at(view: DeploymentView) -> str:
    """When the last proof of what is in service was good; empty where it was not."""
    good = view.proof.at is not None and all(map(is_good, proof_conditions(view)))
    return format_time(view.proof.at) if good and view.proof.at else ""


def _model_ready(view: DeploymentView) -> ConditionUpdate:
    type_ = ConditionType.MODEL_READY
    if view.parts.others is not None:
        return endpoint_ready(view.parts.others, view.proof.proof, view.proof.overdue)
    wanted = view.target.model.digest if view.target and not view.tracks.stays else view.deployed
    deployed = view.parts.rolled_model()
    if not view.server.exists:
        return ConditionUpdate(type_, "Unknown", Reason.PENDING, "The model is not served yet.")
    if view.server.complete and deployed != wanted:
        return ConditionUpdate(type_, "Unknown", Reason.NOT_READY, "A new model is being rolled out.")
    if view.server.complete:
        text = f"The model server answers with {deployed}.{_without_key(view.parts)}"
        return ConditionUpdate(type_, "True", Reason.SERVING, text)
    return _not_ready(type_, view.server, view)


def _without_key(parts: Parts) -> str:
    """What keeps others from an engine that asks clients for no key; empty for one that does."""
    if parts.model_key is not None:
        return ""
    return " It asks clients for no key: NetworkPolicies alone keep others away, which BypassClosed tells."


def _rails_ready(view: DeploymentView) -> ConditionUpdate:
    type_ = ConditionType.GUARDRAILS_READY
    wrong = view.wrong_config
    if wrong is not None:
        if wrong.stalled:
            return ConditionUpdate(type_, "False", wrong.reason, wrong.message)
        return ConditionUpdate(type_, "Unknown", wrong.reason, f"{capital(wrong.message)}.")
    if not view.rails.exists:
        return ConditionUpdate(type_, "Unknown", Reason.PENDING, "The guardrails do not run yet.")
    for rollout in (view.rails, view.guard):
        if rollout is not None and not rollout.complete:
            return _not_ready(type_, rollout, view)
    if not view.tracks.stays and view.parts.rolled_config() != config_hash(view.parts):
        return ConditionUpdate(type_, "Unknown", Reason.NOT_READY, "A new configuration is being rolled out.")
    return ConditionUpdate(type_, "True", Reason.SERVING, _rails_answer(view.parts))


def _rails_answer(parts: Parts) -> str:
    """That the guardrails answer, and by which engine those of a user's own."""
    if not parts.own:
        return "The guardrails answer."
    return f"The guardrails answer, those of guardrails.config by {engine_of(parts.own)}."


def _not_ready(type_: ConditionType, rollout: Rollout, view: DeploymentView) -> ConditionUpdate:
    problem = rollout.problem
    if problem is None:
        return ConditionUpdate(type_, "Unknown", Reason.NOT_READY, f"{capital(rollout.text)}.")
    message = problem.message
    if view.tracks.candidate and view.now.answers:
        message = f"{message.rstrip('.')}. The version before serves on."
        message += f" {ROOM}" if re.search(r"Insufficient |quota", message) else ""
    elif rollout.has_old and view.now.answers:
        message = f"{message.rstrip('.')}. The version before serves on."
        lacks_room = re.search(r"Insufficient ([\w./-]+)", message)
        if lacks_room and rollout is view.server:
            message += f" It keeps its {lacks_room[1].rstrip('.')}: {OLD_FIRST}"
    return ConditionUpdate(type_, "False" if problem.stalled else "Unknown", problem.reason, message)


def find_readiness(view: DeploymentView, updates: list[ConditionUpdate]) -> Readiness:
    """Ready only when all hold; the first that does not gives the reason."""
    if view.outcome.run.spec.suspend:
        text = "spec.suspend is true: nothing is served."
        return Readiness("Unknown", Reason.SUSPENDED, text, state="Suspended")
    blocker = view.blocker
    if blocker is not None and blocker.stalled:
        state = "Failed" if blocker.failed else "Stalled"
        return Readiness("False", blocker.reason, blocker.message, state=state, stalled=True)
    bad = next((item for item in updates if item.status == "False"), None)
    if bad is not None:
        return Readiness("False", bad.reason, bad.message, state="Stalled", stalled=True)
    open_ = next((item for item in updates if not is_good(item)), None)
    if blocker is not None:
        state = "Waiting" if blocker.reference else "Running"
        return Readiness("Unknown", blocker.reason, capital(blocker.message), state=state, reconciling=True)
    if open_ is not None:
        waits = open_.reason == Reason.WAITING_FOR_REFERENCE
        return Readiness(
            "Unknown", open_.reason, open_.message, state="Waiting" if waits else "Running", reconciling=True
        )
    unsure = next((f" {item.message}" for item in updates if item.status != "True"), "")
    return Readiness("True", Reason.SERVING, f"{view.parts.endpoint_url} answers.{unsure}", state="Serving")
