"""Who reaches which pods of a guarded model, on either track: policies go by roles."""

from typing import Any

from safety_operator.api.guarded_deployment import GuardedDeploymentSpec
from safety_operator.children.network_policy import (
    build_policy,
    build_server_policy,
    dns_rules,
    owner_pods,
)
from safety_operator.children.service import SERVER_PORT
from safety_operator.planning.engine.servers import reaches_ngc
from safety_operator.planning.engine.stages import Run
from safety_operator.planning.guarded_deployment.guards import Guard, guard_pods, guard_policies
from safety_operator.planning.guarded_deployment.rails_of import reaches_out
from safety_operator.planning.guarded_deployment.roles import CLASSIFIER_ROLE, MODEL_ROLE, RAILS_ROLE
from safety_operator.planning.guarded_deployment.telemetry import (
    collector_rules,
    metrics_rule,
    model_scrapers,
)
from safety_operator.state.labels import LABEL_ROLE


def build_policies(
    run: Run[GuardedDeploymentSpec],
    guards: tuple[Guard, ...],
    ways: list[dict[str, Any]],
    *,
    classifier: bool,
) -> list[dict[str, Any]]:
    """The NetworkPolicies.

    ``ways``: egress rules to servers of others; ``classifier``: whether the operator serves one as guard.
    """
    owner = run.owner
    rails = owner_pods(owner, RAILS_ROLE)
    http = [{"protocol": "TCP", "port": SERVER_PORT}]
    inside = [owner_pods(owner, MODEL_ROLE), owner_pods(owner, CLASSIFIER_ROLE)]
    inside += guard_pods(guards)
    scrapers = run.settings.metrics_peers
    egress: list[dict[str, Any]] = [
        *dns_rules(run.settings.dns_peers),
        {"to": inside, "ports": http},
        *collector_rules(run.spec.telemetry, owner.namespace),
        *ways,
    ]
    if reaches_out(run.spec.guardrails):
        egress = [{}]
    model = build_server_policy(
        owner,
        MODEL_ROLE,
        [rails, *model_scrapers(run.spec.serving.runtime, scrapers)],
        reaches_ngc=reaches_ngc(run.spec.serving),
    )
    found = [
        *([model] if run.spec.model.endpoint is None else []),
        build_policy(
            owner,
            RAILS_ROLE,
            {LABEL_ROLE: RAILS_ROLE},
            ingress=[{"ports": http}, metrics_rule(scrapers)],
            egress=egress,
        ),
    ]
    if classifier:
        found.append(build_server_policy(owner, CLASSIFIER_ROLE, [rails]))
    return [*found, *guard_policies(owner, guards, rails)]
