"""Which ConfigMaps that pods mount are taken away: those that nothing names and nothing is about to.

Jobs and RayJobs name specifications of stages, Deployments the files of model servers. Decided over the whole
plan and from annotations alone, so that it comes out the same wherever an operator was killed.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace

from safety_operator.children.server_files import FILES_ROLE
from safety_operator.children.stage_spec import SPEC_ROLE
from safety_operator.planning.engine.servers import count_pods
from safety_operator.state.keys import RUN_KINDS, ObjectKey
from safety_operator.state.labels import ANNOTATION_FILES, ANNOTATION_SPEC
from safety_operator.state.observed import Observed
from safety_operator.state.plan import Plan
from safety_operator.state.reading import annotation, children_of_role, is_terminating


def sweep_config_maps(observed: Observed, plan: Plan) -> Plan:
    """The plan, with the ConfigMaps that are not needed any more among what it deletes."""
    applied = {child.manifest["metadata"]["name"] for child in plan.apply}
    specifications = applied | _names(observed, plan, RUN_KINDS, ANNOTATION_SPEC)
    unused = [*_unused(observed, plan, SPEC_ROLE, specifications)]
    if not _replaces_pods(observed):
        files = applied | _names(observed, plan, ("Deployment",), ANNOTATION_FILES)
        unused += _unused(observed, plan, FILES_ROLE, files)
    return replace(plan, delete=(*plan.delete, *unused)) if unused else plan


def _names(observed: Observed, plan: Plan, kinds: Collection[str], by: str) -> set[str]:
    """What the children of some kinds that stay say in an annotation."""
    return {
        annotation(child, by)
        for key, child in observed.children.items()
        if key.kind in kinds and key not in plan.delete
    }


def _unused(observed: Observed, plan: Plan, role: str, used: set[str]) -> Iterator[ObjectKey]:
    for key, child in children_of_role(observed, "ConfigMap", role):
        if key.name not in used and key not in plan.delete and not is_terminating(child):
            yield key


def _replaces_pods(observed: Observed) -> bool:
    """Whether a Deployment has pods of an earlier template, which mount earlier files."""
    return any(key.kind == "Deployment" and count_pods(child).old for key, child in observed.children.items())
