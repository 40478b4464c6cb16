"""Who reaches which pods of a guarded model, on either track: policies go by roles."""

from typing import Any

from safety_operator.children.network_policy import build_policy, build_server_policy, dns_rules, owner_pods
from safety_operator.children.service import SERVER_PORT
from safety_operator.planning.engine.servers import reaches_ngc
from safety_operator.planning.guarded_deployment.deployment_parts import Parts, endpoint_before
from safety_operator.planning.guarded_deployment.endpoint import way_to
from safety_operator.planning.guarded_deployment.guards import guard_pods, guard_policies
from safety_operator.planning.guarded_deployment.rails_of import reaches_out
from safety_operator.planning.guarded_deployment.roles import CLASSIFIER_ROLE, MODEL_ROLE, RAILS_ROLE
from safety_operator.planning.guarded_deployment.telemetry import (
    collector_rules,
    metrics_rule,
    model_scrapers,
)
from safety_operator.state.labels import LABEL_ROLE


def build_policies(parts: Parts) -> list[dict[str, Any]]:
    """The NetworkPolicies."""
    run, owner = parts.run, parts.run.owner
    rails = owner_pods(owner, RAILS_ROLE)
    http = [{"protocol": "TCP", "port": SERVER_PORT}]
    inside = [owner_pods(owner, MODEL_ROLE), owner_pods(owner, CLASSIFIER_ROLE)]
    inside += guard_pods(parts.guards)
    scrapers = run.settings.metrics_peers
    egress: list[dict[str, Any]] = [
        *dns_rules(run.settings.dns_peers),
        {"to": inside, "ports": http},
        *collector_rules(run.spec.telemetry, owner.namespace),
        *_ways_to_endpoints(parts),
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
        *([model] if parts.others is None else []),
        build_policy(
            owner,
            RAILS_ROLE,
            {LABEL_ROLE: RAILS_ROLE},
            ingress=[{"ports": http}, metrics_rule(scrapers)],
            egress=egress,
        ),
    ]
    if parts.uses_classifier:
        found.append(build_server_policy(owner, CLASSIFIER_ROLE, [rails]))
    return [*found, *guard_policies(owner, parts.guards, rails)]


def _ways_to_endpoints(parts: Parts) -> list[dict[str, Any]]:
    """To the server of others that is to be asked, and to the one that is asked until then."""
    urls = [parts.others.url] if parts.others else []
    urls += filter(None, [parts.asked_endpoint(), endpoint_before(parts.run)])
    ways = [rule for url in dict.fromkeys(urls) for rule in way_to(url, parts.run.owner.namespace)]
    return [rule for index, rule in enumerate(ways) if rule not in ways[:index]]
