"""Which specifications of stages are taken away: those that no Job names and none is about to.

Decided over the whole plan and from Jobs' annotations alone, so that it comes out the same wherever an
operator was killed.
"""

from dataclasses import replace

from safety_operator.children.stage_spec import SPEC_ROLE
from safety_operator.state.keys import RUN_KINDS
from safety_operator.state.labels import ANNOTATION_SPEC
from safety_operator.state.observed import Observed
from safety_operator.state.plan import Plan
from safety_operator.state.reading import annotation, children_of_role, is_terminating


def sweep_specifications(observed: Observed, plan: Plan) -> Plan:
    """The plan, with the specifications that are not needed any more among what it deletes."""
    used = {
        annotation(child, ANNOTATION_SPEC)
        for key, child in observed.children.items()
        if key.kind in RUN_KINDS and key not in plan.delete
    }
    used |= {child.manifest["metadata"]["name"] for child in plan.apply}
    unused = tuple(
        key
        for key, child in children_of_role(observed, "ConfigMap", SPEC_ROLE)
        if key.name not in used and key not in plan.delete and not is_terminating(child)
    )
    return replace(plan, delete=(*plan.delete, *unused)) if unused else plan
