"""The guardrails of a track, the Services on them, and the classifier that they ask."""

from safety_operator.api.common import SecretKeyRef
from safety_operator.children.classifier_server import build_classifier_server
from safety_operator.children.guardrails import audit_mount, build_guardrails_server, keys_mount, tls_mount
from safety_operator.children.secret import KEY_UID
from safety_operator.children.service import build_service
from safety_operator.planning.guarded_deployment.deployment_parts import ENDPOINT_URL, MODEL_DIGEST, Parts
from safety_operator.planning.guarded_deployment.endpoint import identity_of
from safety_operator.planning.guarded_deployment.guard_children import asking_labels
from safety_operator.planning.guarded_deployment.rails_config import config_hash, config_map_name, rails_files
from safety_operator.planning.guarded_deployment.rails_of import rail_keys
from safety_operator.planning.guarded_deployment.roles import CLASSIFIER_ROLE, PREVIEW_ROLE, RAILS_ROLE
from safety_operator.planning.guarded_deployment.scaling import wanted_replicas
from safety_operator.planning.guarded_deployment.telemetry import otlp_headers
from safety_operator.state.plan import Child

DEFAULT_THRESHOLD = "0.4"
"""Measured (docs/experiments.md): finds 96 % of HarmBench, suspects 5 % of harmless requests."""
DEFAULT_ANSWER_THRESHOLD = "0.7"
"""It learned from requests: at their threshold it suspects far more harmless answers."""


def rails_server(parts: Parts, *, stopped: bool = False) -> Child:
    """The guardrails server; ``stopped``: without pods."""
    spec, endpoint, own = parts.run.spec, parts.others, parts.own_key
    tls = spec.expose.tls
    known = {MODEL_DIGEST: identity_of(endpoint), ENDPOINT_URL: endpoint.url} if endpoint else {}
    return Child(
        build_guardrails_server(
            parts.run.owner,
            RAILS_ROLE,
            parts.name(RAILS_ROLE),
            config_map=config_map_name(parts),
            config_hash=config_hash(parts),
            config_keys=rails_files(parts).data,
            main_key=parts.main_key,
            rail_keys=(*rail_keys(spec.guardrails), *otlp_headers(spec.telemetry)),
            keys=keys_mount(spec.access.keys, SecretKeyRef(name=own.secret, key=own.key)),
            tls=tls_mount(tls.secret_name) if tls else None,
            audit=audit_mount(parts.run.claim, parts.run.owner) if spec.audit.claim else None,
            audit_days=spec.audit.retention_days,
            images=parts.run.settings.images,
            options=parts.run.options("guardrails"),
            rails=spec.guardrails,
            replicas=0 if stopped else wanted_replicas(parts, RAILS_ROLE),
            annotations=known,
            pod_annotations={KEY_UID: parts.main_key_version},
            pod_labels=asking_labels(parts.guards),
        )
    )


def endpoint_service(parts: Parts) -> Child:
    """The guarded endpoint's Service, on the guardrails of this track."""
    expose, owner = parts.run.spec.expose, parts.run.owner
    return Child(
        build_service(
            owner,
            RAILS_ROLE,
            parts.endpoint_name,
            instance=parts.name(RAILS_ROLE),
            port=expose.service.port,
            service=expose.service,
            tls=bool(parts.certificate),
        )
    )


def preview_service(parts: Parts) -> Child:
    """The Service on the guardrails of this track alone."""
    owner, expose, name = parts.run.owner, parts.run.spec.expose, parts.preview_name
    instance, port, tls = parts.name(RAILS_ROLE), expose.service.port, expose.tls is not None
    return Child(build_service(owner, PREVIEW_ROLE, name, instance=instance, port=port, tls=tls))


def classifier_children(parts: Parts) -> tuple[Child, ...]:
    """The operator's own classifier, where the spec names one as guard."""
    guard = parts.run.spec.guardrails.content_safety.model
    if guard.classifier is None:
        return ()
    name = parts.name(CLASSIFIER_ROLE)
    server = build_classifier_server(
        parts.run.owner,
        CLASSIFIER_ROLE,
        name,
        classifier=guard.classifier,
        threshold=guard.threshold or DEFAULT_THRESHOLD,
        answer_threshold=guard.answer_threshold or DEFAULT_ANSWER_THRESHOLD,
        images=parts.run.settings.images,
        options=parts.run.options("classifier"),
    )
    return Child(build_service(parts.run.owner, CLASSIFIER_ROLE, name, instance=name)), Child(server)
