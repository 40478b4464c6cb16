"""How many pods the model and the guardrails have: fixed numbers, or what an autoscaler makes of the load."""

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.guarded_deployment import GuardedDeploymentSpec
from safety_operator.api.guarded_rollout import Track
from safety_operator.api.guarded_scaling import Autoscaling
from safety_operator.children.scaling import CPU_PERCENT, build_autoscaler, build_budget
from safety_operator.planning.engine.conditions import ConditionUpdate
from safety_operator.planning.guarded_deployment.deployment_parts import Parts
from safety_operator.planning.guarded_deployment.roles import MODEL_ROLE, RAILS_ROLE
from safety_operator.state.keys import ObjectKey
from safety_operator.state.plan import Child
from safety_operator.state.reading import children_of_role, condition_of, integer, is_terminating, value_at

SCALED_OBJECT = "ScaledObject"
AUTOSCALERS = ("HorizontalPodAutoscaler", SCALED_OBJECT)
WORDS = {MODEL_ROLE: "the model server", RAILS_ROLE: "the guardrails"}


def autoscalings(spec: GuardedDeploymentSpec) -> Mapping[str, Autoscaling]:
    """By role: those whose pods follow the load."""
    wanted = {MODEL_ROLE: spec.serving.autoscaling, RAILS_ROLE: spec.guardrails.autoscaling}
    return {role: found for role, found in wanted.items() if found is not None}


def fewest_replicas(spec: GuardedDeploymentSpec) -> dict[str, int]:
    """By role: how many pods there always are to be."""
    fixed = {MODEL_ROLE: spec.serving.replicas, RAILS_ROLE: spec.guardrails.replicas}
    return fixed | {role: found.min_replicas for role, found in autoscalings(spec).items()}


def wanted_replicas(parts: Parts, role: str) -> int | None:
    """Pods that a role is to have; None: an autoscaler decides, which a Deployment with none has not."""
    fewest = fewest_replicas(parts.run.spec)[role]
    if role not in autoscalings(parts.run.spec):
        return fewest
    if integer(value_at(parts.deployment(role), "spec", "replicas")) > 0:
        return None
    tracks = (replace(parts, track=track).deployment(role) for track in get_args(Track))
    return max(fewest, *(integer(value_at(item, "spec", "replicas")) for item in tracks))


def scaling_children(parts: Parts) -> tuple[Child, ...]:
    """Autoscalers and disruption budgets."""
    children = [
        build_autoscaler(parts.run.owner, role, parts.name(role), spec)
        for role, spec in autoscalings(parts.run.spec).items()
        if not _lacks_keda(parts, spec) and not _is_switched_off(parts, role)
    ]
    children += [build_budget(parts.run.owner, role, parts.name(role)) for role in _with_budget(parts)]
    return tuple(map(Child, children))


def stale_scaling(parts: Parts) -> tuple[ObjectKey, ...]:
    """Autoscalers and budgets that are not wanted any more."""
    wanted = {
        ObjectKey(child.manifest["kind"], child.manifest["metadata"]["name"])
        for child in scaling_children(parts)
    }
    return tuple(
        key
        for kind in (*AUTOSCALERS, "PodDisruptionBudget")
        for role in WORDS
        for key, child in children_of_role(parts.run.observed, kind, role)
        if key not in wanted and not is_terminating(child)
    )


def autoscaled(parts: Parts) -> ConditionUpdate | None:
    """The condition Autoscaled; None where no number of pods follows the load. Ready does not rest on it."""
    found = [_look(parts, role, spec) for role, spec in autoscalings(parts.run.spec).items()]
    return next((item for item in found if item.status != "True"), found[0] if found else None)


def _look(parts: Parts, role: str, spec: Autoscaling) -> ConditionUpdate:
    type_ = ConditionType.AUTOSCALED
    if _lacks_keda(parts, spec):
        message = (
            f"autoscaling.queue of {WORDS[role]}: this cluster has no ScaledObjects that the operator may "
            "see. Install KEDA, set rbac.scaledObjects of the chart, or use cpuPercent. Until then there are "
            f"{spec.min_replicas} pods."
        )
        return ConditionUpdate(type_, "False", Reason.API_MISSING, message)
    by = "a queue" if spec.queue else f"CPU at {spec.cpu_percent or CPU_PERCENT} %"
    text = f"{spec.min_replicas} to {spec.max_replicas} pods of {WORDS[role]}, by {by}."
    problem = _problem(parts, role)
    if problem:
        return ConditionUpdate(type_, "Unknown", Reason.NOT_SCALING, f"{text} {problem}")
    return ConditionUpdate(type_, "True", Reason.SCALING, text)


def _problem(parts: Parts, role: str) -> str:
    """What an autoscaler says that keeps it from its work; empty where it says nothing."""
    for kind, type_ in zip(AUTOSCALERS, ("ScalingActive", "Ready"), strict=True):
        found = condition_of(parts.run.observed.children.get(ObjectKey(kind, parts.name(role))), type_)
        if found.get("status") == "False" and found.get("reason") != "ScalingDisabled":
            return f"{kind} {parts.name(role)} does not scale: {found.get('message', '')}"
    return ""


def _lacks_keda(parts: Parts, spec: Autoscaling) -> bool:
    return spec.queue is not None and SCALED_OBJECT not in parts.run.observed.optional


def _is_switched_off(parts: Parts, role: str) -> bool:
    """Whether a regression took the pods away: an autoscaler would start them again."""
    return bool(value_at(parts.deployment(role), "spec", "replicas") == 0)


def _with_budget(parts: Parts) -> list[str]:
    """Roles that always have two pods or more: with a budget for a single pod no node could be drained."""
    return [role for role, number in fewest_replicas(parts.run.spec).items() if number > 1]
