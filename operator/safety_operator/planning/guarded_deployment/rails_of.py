"""The rails of a GuardedDeployment: what they refer to, their keys, and what the pods are told of them."""

from collections.abc import Iterator, Mapping

from safety_operator.api.common import SecretKeyRef
from safety_operator.api.guarded_deployment import Guardrails
from safety_operator.api.guarded_rails import GuardEndpoint
from safety_operator.children.guardrails_rails import (
    GUARD_KEY_ENV,
    JAILBREAK_KEY_ENV,
    SELF_CHECK_KEY_ENV,
    TOPIC_KEY_ENV,
    FurtherRails,
)
from safety_operator.children.pod import SecretEnv
from safety_operator.planning.engine.references import Reference, secret_reference
from safety_operator.planning.guarded_deployment.guards import (
    CONTENT_SAFETY,
    SELF_CHECK,
    TOPIC_CONTROL,
    Guard,
)

CLASSIFIER_FORMAT = "classifier"


def further_rails(rails: Guardrails, served: Mapping[str, Guard]) -> FurtherRails:
    """The rails besides content safety; ``served``: by rail, the guards that the operator serves."""
    data = rails.sensitive_data
    kinds = tuple(sorted(data.entities)) if data else ()
    return FurtherRails(
        topic=rails.topic_control,
        topic_server=_topic_server(rails, served),
        self_check=rails.self_check,
        self_check_server=_judge(rails, served),
        jailbreak=rails.jailbreak,
        sensitive_input=kinds if data and data.input else (),
        sensitive_output=kinds if data and data.output else (),
    )


def _topic_server(rails: Guardrails, served: Mapping[str, Guard]) -> GuardEndpoint | None:
    if TOPIC_CONTROL in served:
        return served[TOPIC_CONTROL].endpoint
    model = rails.topic_control.model if rails.topic_control else None
    return GuardEndpoint(url=model.url, model=model.model) if model and model.url and model.model else None


def _judge(rails: Guardrails, served: Mapping[str, Guard]) -> GuardEndpoint | None:
    if SELF_CHECK in served:
        return served[SELF_CHECK].endpoint
    return rails.self_check.endpoint if rails.self_check else None


def guard_format(rails: Guardrails, served: Mapping[str, Guard]) -> str:
    """How the content-safety model is asked."""
    if CONTENT_SAFETY in served:
        return served[CONTENT_SAFETY].format
    endpoint = rails.content_safety.model.endpoint
    return endpoint.format if endpoint else CLASSIFIER_FORMAT


def reaches_out(rails: Guardrails) -> bool:
    """Whether a rail asks a server that is not the operator's."""
    check = rails.self_check
    return bool(
        rails.content_safety.model.endpoint
        or (rails.topic_control and rails.topic_control.model.url)
        or rails.jailbreak
        or rails.config
        or (check and check.endpoint)
    )


def rail_keys(rails: Guardrails) -> tuple[SecretEnv, ...]:
    """Keys of the rails' servers, as the guarded endpoint reads them."""
    return tuple(SecretEnv(env, ref.name, ref.key) for _, env, ref in _keys(rails) if ref)


def rail_references(rails: Guardrails, stage: str) -> tuple[Reference, ...]:
    """The Secrets of those keys."""
    found = (
        secret_reference(f"spec.guardrails.{field}", ref, env, stage) for field, env, ref in _keys(rails)
    )
    return tuple(item for items in found for item in items)


def _keys(rails: Guardrails) -> Iterator[tuple[str, str, SecretKeyRef | None]]:
    """Field, variable and Secret of each server that a rail asks."""
    where = "apiKeySecretRef"
    if (endpoint := rails.content_safety.model.endpoint) is not None:
        yield f"contentSafety.model.endpoint.{where}", GUARD_KEY_ENV, endpoint.api_key_secret_ref
    if rails.topic_control:
        yield f"topicControl.model.{where}", TOPIC_KEY_ENV, rails.topic_control.model.api_key_secret_ref
    if rails.self_check and rails.self_check.endpoint:
        yield f"selfCheck.endpoint.{where}", SELF_CHECK_KEY_ENV, rails.self_check.endpoint.api_key_secret_ref
    if rails.jailbreak:
        yield f"jailbreak.{where}", JAILBREAK_KEY_ENV, rails.jailbreak.api_key_secret_ref
