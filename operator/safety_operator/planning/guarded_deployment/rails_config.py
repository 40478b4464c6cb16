"""The configuration that the guardrails of a track read: its files, its hash and its name."""

from safety_operator.children.guardrails import RailsConfig, RailsFiles, build_rails_files
from safety_operator.children.metadata import canonical_hash, child_name
from safety_operator.children.runtimes.runtime import SERVED_NAME
from safety_operator.children.service import service_url
from safety_operator.planning.guarded_deployment.deployment_parts import Parts
from safety_operator.planning.guarded_deployment.guards import CONTENT_SAFETY
from safety_operator.planning.guarded_deployment.rails_of import further_rails, guard_format
from safety_operator.planning.guarded_deployment.roles import CLASSIFIER_ROLE, CONFIG_ROLE

GUARD_NAME = "content-safety"
"""Name of the classifier in requests."""


def rails_files(parts: Parts) -> RailsFiles:
    """The rails' configuration."""
    guardrails = parts.run.spec.guardrails
    rail = guardrails.content_safety
    served = parts.served_guards()
    safety = served.get(CONTENT_SAFETY)
    endpoint = safety.endpoint if safety else rail.model.endpoint
    return build_rails_files(
        RailsConfig(
            model_url=parts.others.url.rstrip("/") if parts.others else parts.direct_url,
            model_name=parts.others.model if parts.others else SERVED_NAME,
            model_wants_key=parts.main_key is not None,
            authorities=parts.authorities,
            served_name=parts.served_name,
            guard_url=endpoint.url if endpoint else service_url(parts.run.owner, parts.name(CLASSIFIER_ROLE)),
            guard_name=endpoint.model if endpoint else GUARD_NAME,
            guard_format=guard_format(guardrails, served),
            check_input=rail.input,
            check_output=rail.output,
            refusal=guardrails.refusal,
            streaming=guardrails.streaming,
            speculative=guardrails.speculative,
            show_reasoning=guardrails.reasoning == "show",
            opens_reasoning=parts.opens_reasoning,
            callers=tuple(parts.run.spec.access.keys),
            replicas=guardrails.autoscaling.max_replicas if guardrails.autoscaling else guardrails.replicas,
            audit_text=parts.run.spec.audit.text,
            refusals=tuple(guardrails.refusals),
            own=parts.own,
            further=further_rails(guardrails, served),
            telemetry=parts.run.spec.telemetry,
            endpoints=parts.run.spec.endpoints,
            tool_calls=guardrails.tool_calls.model_dump_json(by_alias=True, exclude_defaults=True),
        )
    )


def config_hash(parts: Parts) -> str:
    """Hash of the rails' configuration, and of the guards that decide with it."""
    guard = parts.run.spec.guardrails.content_safety.model
    served = [guard.identity for guard in parts.guards]
    return canonical_hash(
        [rails_files(parts).digest, guard.classifier, guard.threshold, guard.answer_threshold, *served]
    )


def config_map_name(parts: Parts) -> str:
    """Name of the configuration's version."""
    return child_name(parts.run.owner, CONFIG_ROLE, rails_files(parts).digest)
