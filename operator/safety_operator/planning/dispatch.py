"""From a resource's kind to its planner, and the answers that are the same for all kinds."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from pydantic import ValidationError

from safety_operator.api.conditions import CommonStatus, Reason
from safety_operator.api.kinds import KIND_BY_NAME
from safety_operator.api.run import RunSpec
from safety_operator.api.safety_finetune import SafetyFinetuneSpec
from safety_operator.planning.engine.conditions import stalled_plan
from safety_operator.planning.engine.config_maps import sweep_config_maps
from safety_operator.planning.engine.cycles import explain_cycle, is_held_up
from safety_operator.planning.engine.problems import UnmetRuleError
from safety_operator.planning.engine.references import CLAIM, SECRET, Reference, needs_of
from safety_operator.planning.engine.stages import Run
from safety_operator.planning.guarded_deployment import deployment_planner, deployment_references
from safety_operator.planning.safety_blend import blend_planner
from safety_operator.planning.safety_eval import eval_planner
from safety_operator.planning.safety_finetune import finetune_planner
from safety_operator.planning.safety_finetune.overrides import check_overrides
from safety_operator.planning.safety_finetune.pushing import check_push
from safety_operator.planning.shared.checks import check_blend, check_deployment, check_eval
from safety_operator.schema.rules import describe_mistakes, find_mistakes, spec_mistakes
from safety_operator.state.keys import Manifest
from safety_operator.state.observed import Needs, Observed
from safety_operator.state.plan import Plan
from safety_operator.state.reading import status_of, value_at
from safety_operator.state.settings import PlanSettings
from safety_operator.state.status import read_status
from safety_records.base import KUBERNETES


class Planner(NamedTuple):
    """What has to be known of a kind to decide about its resources."""

    references: Callable[[Any], tuple[Reference, ...]]
    """What a spec names outside itself."""
    check: Callable[[Any], str]
    """What is wrong with a spec that fits its schema; empty if nothing is."""
    plan: Callable[[Run[Any]], Plan]
    """What to do; called with a spec that is right."""


def _check_finetune(spec: SafetyFinetuneSpec) -> str:
    return check_overrides(spec) or check_push(spec)


PLANNERS: dict[str, Planner] = {
    "SafetyEval": Planner(eval_planner.references, check_eval, eval_planner.plan),
    "SafetyBlend": Planner(blend_planner.references, check_blend, blend_planner.plan),
    "SafetyFinetune": Planner(finetune_planner.references, _check_finetune, finetune_planner.plan),
    "GuardedDeployment": Planner(deployment_references.references, check_deployment, deployment_planner.plan),
}
"""By kind; all else about kinds is in ``api.kinds``."""


def needs(resource: Manifest, settings: PlanSettings | None = None) -> Needs:
    """What has to be gathered before :func:`plan`, derived from the spec alone.

    Parameters
    ----------
    resource
        A resource of one of the four kinds.
    settings
        Where given, the default artifacts claim is among the needs of a spec that names none.
    """
    spec = _parse(resource)
    if isinstance(spec, str):
        return Needs()
    claim = spec.artifacts.claim_name or (settings.artifacts_claim if settings else "")
    references = PLANNERS[str(resource.get("kind"))].references
    named = [*references(spec), Reference("spec.artifacts.claimName", CLAIM, claim)]
    if settings is not None and settings.secret_label:
        named += [
            Reference("spec.pod.imagePullSecrets", SECRET, ref.name) for ref in spec.pod.image_pull_secrets
        ]
    return needs_of(named, str(value_at(resource, "metadata", "namespace", default="")))


def plan(observed: Observed, settings: PlanSettings, now: datetime) -> Plan:
    """What should be done for ``observed.resource`` at the time ``now`` (timezone-aware)."""
    resource = observed.resource
    if value_at(resource, "metadata", "deletionTimestamp"):
        return Plan(status=status_of(resource))
    kind = str(resource.get("kind"))
    before, planner = read_status(KIND_BY_NAME[kind].status, resource.get("status")), PLANNERS[kind]
    stall = partial(stalled_plan, observed, before, now)
    spec = _parse(resource)
    if isinstance(spec, str):
        return stall(Reason.INVALID_SPEC, spec)
    reason, message = _find_obstacle(observed, before, spec)
    if message:
        return stall(reason, message)
    run = Run(spec, observed, settings, now, references=planner.references(spec), before=before)
    try:
        made = planner.plan(run)
    except UnmetRuleError:
        broken = describe_mistakes(find_mistakes(resource))
        if not broken:
            raise
        return stall(Reason.INVALID_SPEC, broken)
    return sweep_config_maps(observed, made)


def _find_obstacle(observed: Observed, before: CommonStatus, spec: RunSpec) -> tuple[Reason, str]:
    """Why nothing can be done for a spec that fits its schema, with an empty text where something can."""
    if is_held_up(observed, before):
        return Reason.REFERENCE_CYCLE, explain_cycle(observed.cycle)
    withheld = _find_withheld(spec, observed)
    if withheld:
        return Reason.SECRET_WITHHELD, withheld
    return Reason.INVALID_SPEC, PLANNERS[str(observed.resource.get("kind"))].check(spec)


def _find_withheld(spec: RunSpec, observed: Observed) -> str:
    """That images would be pulled with a Secret that no resource may use; empty if not, or if nothing is."""
    if spec.suspend:
        return ""
    for index, ref in enumerate(spec.pod.image_pull_secrets):
        if ref.name in observed.withheld:
            where = f"spec.pod.imagePullSecrets[{index}]"
            return f"{where}: the Secret {ref.name} {observed.withheld[ref.name]}."
    return ""


def _parse(resource: Manifest) -> RunSpec | str:
    """The resource's spec as its pydantic model, or what is wrong with it in words."""
    model = KIND_BY_NAME[str(resource.get("kind"))].spec
    try:
        return model.model_validate(resource.get("spec") or {}, context=KUBERNETES)
    except ValidationError as error:
        return describe_mistakes(spec_mistakes(error))
