"""Who reaches which pods of a guarded model: each Deployment of each track has a policy of its own.

So the rules that a version needs come with its track, and end with it.
"""

import json
from typing import Any

from safety_operator.children.metadata import with_hash
from safety_operator.children.network_policy import (
    NAMESPACE_NAME,
    build_policy,
    build_server_policy,
    dns_rules,
    owner_pods,
    policy_name,
)
from safety_operator.children.probe_job import probe_label
from safety_operator.children.service import SERVER_PORT
from safety_operator.planning.engine.servers import reaches_ngc
from safety_operator.planning.guarded_deployment.deployment_parts import Parts
from safety_operator.planning.guarded_deployment.endpoint import way_to
from safety_operator.planning.guarded_deployment.guard_children import guard_pods, guard_policies
from safety_operator.planning.guarded_deployment.rails_config import config_hash
from safety_operator.planning.guarded_deployment.rails_of import reaches_out
from safety_operator.planning.guarded_deployment.roles import (
    CANDIDATE_PROOF,
    CLASSIFIER_ROLE,
    MODEL_ROLE,
    RAILS_ROLE,
)
from safety_operator.planning.guarded_deployment.rollouts import rollout_of
from safety_operator.planning.guarded_deployment.telemetry import (
    collector_rules,
    metrics_rule,
    model_scrapers,
)
from safety_operator.state.keys import Manifest, ObjectKey
from safety_operator.state.labels import ANNOTATION_RULES, LABEL_INSTANCE, LABEL_PROBE_OF, LABEL_ROLE
from safety_operator.state.reading import annotation, items_of, value_at

HTTP: dict[str, Any] = {"ports": [{"protocol": "TCP", "port": SERVER_PORT}]}


def build_policies(parts: Parts) -> list[dict[str, Any]]:
    """The NetworkPolicies of a track; where its pods stay as they are, with the rules that they had.

    An update in place keeps the ways of the guardrails' pods before it until the last of them is gone.
    """
    return [_on_track(parts, policy) for policy in _by_role(parts)]


def all_are_new(parts: Parts) -> bool:
    """Whether no guardrails pod is left that reads another configuration, and asks other servers.

    One that was told to end still asks them about the answers that it has begun.
    """
    complete = rollout_of(parts, RAILS_ROLE, "").complete
    drained = parts.name(RAILS_ROLE) not in parts.run.observed.draining
    return complete and drained and parts.rolled_config() == config_hash(parts)


def track_policy_name(parts: Parts, role: str) -> str:
    """Name of the policy on a role's pods."""
    name = policy_name(parts.run.owner, role)
    return name if parts.track == "blue" else f"{name}-{parts.track}"


def is_open(parts: Parts) -> bool:
    """Whether the policy is there by which anybody may ask a track's guardrails."""
    key = ObjectKey("NetworkPolicy", track_policy_name(parts, RAILS_ROLE))
    return HTTP in items_of(value_at(parts.run.observed.children.get(key), "spec", "ingress"))


def _on_track(parts: Parts, policy: Manifest) -> dict[str, Any]:
    meta, spec = policy["metadata"], policy["spec"]
    role = meta["labels"][LABEL_ROLE]
    name = track_policy_name(parts, role)
    rules = {way: spec[way] for way in ("ingress", "egress")}
    found = parts.run.observed.children.get(ObjectKey("NetworkPolicy", name))
    if parts.held and found is not None:
        rules = _made_with(found) or rules
    elif found is not None and role == RAILS_ROLE and not (parts.candidate or all_are_new(parts)):
        before = _made_with(found).get("egress", [])
        rules["egress"] = rules["egress"] + [rule for rule in before if rule not in rules["egress"]]
    known = {ANNOTATION_RULES: json.dumps(rules, sort_keys=True)}
    labels = spec["podSelector"]["matchLabels"] | {LABEL_INSTANCE: parts.name(role)}
    spec = {**spec, **rules, "podSelector": {"matchLabels": labels}}
    return with_hash({**policy, "metadata": {**meta, "name": name, "annotations": known}, "spec": spec})


def _made_with(policy: Manifest) -> dict[str, Any]:
    """The rules that a policy was made with, whatever somebody added to it since; empty: not known."""
    try:
        found = json.loads(annotation(policy, ANNOTATION_RULES))
        return {way: list(found[way]) for way in ("ingress", "egress")}
    except (ValueError, LookupError, TypeError):
        return {}


def _askers(parts: Parts) -> dict[str, Any]:
    """Who may ask the guardrails: of a version that is not proven, its proof only."""
    if not parts.candidate or parts.opened:
        return HTTP
    owner, outside = parts.run.owner, parts.run.settings.probe_namespace
    peers: list[Any] = [owner_pods(owner, CANDIDATE_PROOF)]
    if outside:
        pods = {"matchLabels": {LABEL_PROBE_OF: probe_label(owner)}}
        where = {"matchLabels": {NAMESPACE_NAME: outside}}
        peers.append({"namespaceSelector": where, "podSelector": pods})
    return {"from": peers, **HTTP}


def _by_role(parts: Parts) -> list[dict[str, Any]]:
    run, owner = parts.run, parts.run.owner
    rails = owner_pods(owner, RAILS_ROLE)
    inside = [owner_pods(owner, MODEL_ROLE), owner_pods(owner, CLASSIFIER_ROLE)]
    inside += guard_pods(parts.guards)
    scrapers = run.settings.metrics_peers
    egress: list[dict[str, Any]] = [
        *dns_rules(run.settings.dns_peers),
        {"to": inside, **HTTP},
        *collector_rules(run.spec.telemetry, owner.namespace),
        *(way_to(parts.others.url, owner.namespace) if parts.others else []),
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
            ingress=[_askers(parts), metrics_rule(scrapers)],
            egress=egress,
        ),
    ]
    if parts.uses_classifier:
        found.append(build_server_policy(owner, CLASSIFIER_ROLE, [rails]))
    return [*found, *guard_policies(owner, parts.guards, rails)]
