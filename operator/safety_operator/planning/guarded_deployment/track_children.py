"""The children of a guarded model on one track: which there are to be, and which are not needed any more."""

from safety_operator.children.guardrails import build_rails_config_map
from safety_operator.children.secret import API_KEY, build_api_key_secret
from safety_operator.planning.guarded_deployment.deployment_parts import Parts
from safety_operator.planning.guarded_deployment.guard_children import (
    guard_children,
    shared_services,
    unused_guards,
)
from safety_operator.planning.guarded_deployment.model_children import model_services
from safety_operator.planning.guarded_deployment.policies import all_are_new, build_policies
from safety_operator.planning.guarded_deployment.rails_children import classifier_children, endpoint_service
from safety_operator.planning.guarded_deployment.rails_config import config_map_name, rails_files
from safety_operator.planning.guarded_deployment.roles import (
    CALLER_ROLE,
    CLASSIFIER_ROLE,
    CONFIG_ROLE,
    KEY_ROLE,
    MODEL_ROLE,
)
from safety_operator.state.keys import ObjectKey
from safety_operator.state.plan import Child
from safety_operator.state.reading import children_of_role, is_terminating


def fixed_children(parts: Parts) -> tuple[Child, ...]:
    """What does not depend on the model."""
    return (*shared_children(parts), *tracked_children(parts), *entry_services(parts))


def entry_services(parts: Parts) -> tuple[Child, ...]:
    """The Services that lead to this track: the guarded endpoint's, and those on guards that others ask."""
    return (endpoint_service(parts), *shared_services(parts))


def shared_children(parts: Parts) -> tuple[Child, ...]:
    """What both tracks have in common: keys."""
    keys = {CALLER_ROLE: parts.own_key}
    if parts.others is None:
        keys = {KEY_ROLE: parts.key, **keys}
    secrets = (build_api_key_secret(parts.run.owner, role, key.secret) for role, key in keys.items())
    return tuple(Child(secret, create_only=True, secret_key=API_KEY) for secret in secrets)


def tracked_children(parts: Parts) -> tuple[Child, ...]:
    """What this track has besides its servers; policies first, so that no pod ever runs without."""
    owner = parts.run.owner
    config = build_rails_config_map(owner, CONFIG_ROLE, config_map_name(parts), rails_files(parts).data)
    return (
        *map(Child, build_policies(parts)),
        Child(config),
        *(model_services(parts) if parts.others is None else ()),
        *classifier_children(parts),
        *guard_children(parts.run, tuple(parts.served_guards().values())),
    )


def stale_children(parts: Parts) -> tuple[ObjectKey, ...]:
    """What no pod reads or asks any more: configurations, and servers that an endpoint of others replaced."""
    if not all_are_new(parts):
        return ()
    observed = parts.run.observed
    unused = [
        key
        for key, _ in children_of_role(observed, "ConfigMap", CONFIG_ROLE)
        if key.name != config_map_name(parts)
    ]
    roles = [] if parts.uses_classifier else [CLASSIFIER_ROLE]
    if parts.others is not None:
        roles.append(MODEL_ROLE)
        unused += [key for key, _ in children_of_role(observed, "Secret", KEY_ROLE)]
    unused += [
        key
        for role in roles
        for kind in ("Deployment", "NetworkPolicy", "Service")
        for key, _ in children_of_role(observed, kind, role)
    ]
    unused += unused_guards(parts)
    return tuple(sorted(key for key in unused if not is_terminating(observed.children[key])))


def running_children(parts: Parts) -> tuple[ObjectKey, ...]:
    """Everything that uses processors or memory: deleted while suspended."""
    return tuple(
        key
        for key in sorted(parts.run.observed.children)
        if key.kind in {"Deployment", "Job"} and not is_terminating(parts.run.observed.children[key])
    )
