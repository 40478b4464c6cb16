"""What a GuardedDeployment refers to."""

from safety_operator.api.guarded_deployment import GuardedDeploymentSpec
from safety_operator.planning.engine.references import SECRET, Reference
from safety_operator.planning.guarded_deployment.endpoint import upstream_references
from safety_operator.planning.guarded_deployment.exposure import tls_references
from safety_operator.planning.guarded_deployment.guards import guard_references
from safety_operator.planning.guarded_deployment.own_config import own_reference
from safety_operator.planning.guarded_deployment.rails_of import rail_references
from safety_operator.planning.guarded_deployment.roles import RAILS_ROLE
from safety_operator.planning.guarded_deployment.signatures import signature_references
from safety_operator.planning.guarded_deployment.telemetry import telemetry_references
from safety_operator.planning.shared.models import FETCH, cache_references


def references(spec: GuardedDeploymentSpec) -> tuple[Reference, ...]:
    """The model, the evaluations of the gate, the keys of rails and of callers."""
    return (
        *upstream_references(spec, RAILS_ROLE),
        *signature_references(spec.gate.require_signature),
        *cache_references(spec.serving, "spec.serving", FETCH, RAILS_ROLE),
        *rail_references(spec.guardrails, RAILS_ROLE),
        *guard_references(spec.guardrails),
        *own_reference(spec.guardrails),
        *telemetry_references(spec, RAILS_ROLE),
        *tls_references(spec.expose, RAILS_ROLE),
        *(
            Reference(
                f"spec.access.keys[{index}].secretRef",
                SECRET,
                caller.secret_ref.name,
                caller.secret_ref.key,
                stages=(RAILS_ROLE,),
            )
            for index, caller in enumerate(spec.access.keys)
        ),
        *(
            Reference(f"spec.gate.evalRefs[{index}]", "SafetyEval", ref.name)
            for index, ref in enumerate(spec.gate.eval_refs)
        ),
    )
