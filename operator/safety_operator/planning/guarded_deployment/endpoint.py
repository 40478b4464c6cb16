"""A model that others serve (``spec.model.endpoint``): what is known of it, and the way to it.

The operator sees neither files nor pods of such a server. What stands in for the model's digest is the one
that somebody vouches for, or the address itself.
"""

import re
from typing import Any
from urllib.parse import urlsplit

from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.guarded_deployment import GuardedDeploymentSpec
from safety_operator.api.guarded_model import GuardedModelEndpoint
from safety_operator.children.guardrails_rails import MAIN_KEY_ENV
from safety_operator.children.metadata import canonical_hash, own_service_name
from safety_operator.children.network_policy import NAMESPACE_NAME
from safety_operator.planning.engine.conditions import ConditionUpdate
from safety_operator.planning.engine.problems import Blocked, Problem
from safety_operator.planning.engine.products import Model
from safety_operator.planning.engine.references import CONFIG_MAP, Reference, read_config_map
from safety_operator.planning.engine.stages import Run
from safety_operator.planning.guarded_deployment.roles import RAILS_ROLE
from safety_operator.planning.shared.models import Part, find_model, model_references
from safety_operator.state.keys import Manifest
from safety_operator.state.reading import known_digest, value_at
from safety_records.result import Proof
from safety_records.tracking import IN_CLUSTER

GuardedRun = Run[GuardedDeploymentSpec]

WHERE = "spec.model.endpoint"
CA_WHERE = f"{WHERE}.caConfigMapKeyRef"
PREFIX = "endpoint:"
"""Before what stands in for the digest of a model that nobody vouches for."""
CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
MAX_CA_BYTES = 256 * 1024
UNSEEN = (
    "The operator does not run this server: which model it has, with which template, system prompt and "
    "quantization, and since when, is not known here."
)


def upstream_references(spec: GuardedDeploymentSpec, stage: str) -> tuple[Reference, ...]:
    """What the model comes from; of an endpoint its key and its authorities."""
    found = model_references(spec.model, Part(key_env=MAIN_KEY_ENV), stage)
    endpoint = spec.model.endpoint
    ref = endpoint.ca_config_map_key_ref if endpoint else None
    return (*found, Reference(CA_WHERE, CONFIG_MAP, ref.name, ref.key)) if ref else found


def find_wanted(run: GuardedRun) -> Model:
    """The model that the spec asks for. Raises Blocked while it cannot be had."""
    endpoint = run.spec.model.endpoint
    if endpoint is None:
        return find_model(run, run.spec.model, "spec.model")
    _check_is_another(run, endpoint)
    return Model("", identity_of(endpoint), endpoint.url)


def _check_is_another(run: GuardedRun, endpoint: GuardedModelEndpoint) -> None:
    """Raise Blocked for the guarded endpoint itself: each request would be asked again for ever."""
    own, namespace = own_service_name(run.owner, RAILS_ROLE), run.owner.namespace
    names = {own, *(f"{own}.{namespace}{suffix}" for suffix in ("", ".svc", ".svc.cluster.local"))}
    if urlsplit(endpoint.url).hostname in names:
        message = f"{WHERE}.url is this guarded endpoint itself: name the server that has the model."
        raise Blocked(Problem(Reason.INVALID_SPEC, message))


def identity_of(endpoint: GuardedModelEndpoint) -> str:
    """The digest that is vouched for, else a hash of the address, which is marked as such."""
    address = [endpoint.url.rstrip("/"), endpoint.model]
    return endpoint.digest or f"{PREFIX}{canonical_hash(address)[:24]}"


def known_identity(text: Any) -> str:
    """A digest, or what stands in for one, as it is in a status; empty for anything else."""
    marked = isinstance(text, str) and re.fullmatch(f"{PREFIX}[0-9a-f]{{24}}", text)
    return str(text) if marked else known_digest(text)


def find_authorities(run: GuardedRun) -> str:
    """Certificates of the authorities (PEM); empty where none are named. Raises Blocked for anything else."""
    item = next((item for item in run.references if item.where == CA_WHERE), None)
    if item is None:
        return ""
    content = read_config_map(run.observed, item)
    if CERTIFICATE not in content or len(content) > MAX_CA_BYTES or not content.isascii():
        message = (
            f"{CA_WHERE}: the key {item.key} of the ConfigMap {item.name} holds no certificates in PEM, or "
            f"more than {MAX_CA_BYTES // 1024} KiB. Put the authority's certificate there, which begins with "
            f"{CERTIFICATE.decode()}."
        )
        raise Blocked(Problem(Reason.INVALID_SPEC, message))
    return content.decode("ascii")


def way_to(url: str, namespace: str) -> list[dict[str, Any]]:
    """Egress rules to a server: its namespace, or its port at any address where it is outside.

    A policy sees the port of the pod behind a Service, so that inside the cluster all ports are open. It
    knows no names, and an address may be a Service's, so that outside only the port can be told.
    """
    parts = urlsplit(url)
    if re.match(IN_CLUSTER, url):
        labels = (parts.hostname or "").split(".")
        name = labels[1] if len(labels) > 1 else namespace
        return [{"to": [{"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: name}}}]}]
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return [{"ports": [{"protocol": "TCP", "port": port}]}]


def is_same_endpoint(endpoint: GuardedModelEndpoint, evaluation: Manifest) -> bool:
    """Whether an evaluation asked this very model at this very address."""
    asked = value_at(evaluation, "spec", "model", "endpoint", default={})
    url = str(asked.get("url", "")).rstrip("/")
    return (url, asked.get("model")) == (endpoint.url.rstrip("/"), endpoint.model)


def explain_vouched(endpoint: GuardedModelEndpoint) -> str:
    """What the gate knows of an endpoint, and what it does not, behind the names of evaluations."""
    if endpoint.digest:
        return f" vouched: the digest is the one that {WHERE}.digest names. {UNSEEN}"
    return f" vouched: nobody names a digest; the evaluation asked the same URL and model. {UNSEEN}"


def endpoint_ready(endpoint: GuardedModelEndpoint, proof: Proof | None, overdue: str) -> ConditionUpdate:
    """The condition ModelReady: whether the last proof got answers of the model."""
    type_ = ConditionType.MODEL_READY
    if proof is None:
        text = f"Whether {endpoint.url} answers is seen by the first proof."
        return ConditionUpdate(type_, "Unknown", Reason.PENDING, text)
    if not proof.benign_answered:
        why = f": {proof.silence}" if proof.silence else ""
        text = (
            f"The last proof got no answer of {endpoint.model} at {endpoint.url}{why}. Look at the log of "
            f"the guardrails pods, and check {WHERE}'s url, model and apiKeySecretRef."
        )
        return ConditionUpdate(type_, "False", Reason.NOT_READY, text)
    if overdue:
        return ConditionUpdate(type_, "Unknown", Reason.PROOF_OVERDUE, overdue)
    text = f"{endpoint.model} at {endpoint.url} answered the last proof."
    return ConditionUpdate(type_, "True", Reason.SERVING, text)


def endpoint_bypass(endpoint: GuardedModelEndpoint, proof: Proof) -> ConditionUpdate:
    """The condition BypassClosed: open where the proof got round the rails, never known to be closed."""
    type_, detail = ConditionType.BYPASS_CLOSED, proof.bypass_detail
    what_to_do = (
        f"let the server want a key ({WHERE}.apiKeySecretRef) that nobody else has, or let its network admit "
        "the guardrails pods alone"
    )
    if proof.bypass_closed is None:
        return ConditionUpdate(
            type_, "Unknown", Reason.PROOF_FAILED, f"The bypass probe failed: {detail or 'no detail'}."
        )
    if not proof.bypass_closed:
        seen = detail or "no detail"
        text = f"A pod that is no guardrails pod got an answer: {seen}. To close it, {what_to_do}."
        return ConditionUpdate(type_, "False", Reason.PROOF_FAILED, text)
    text = (
        f"A pod of this namespace that is no guardrails pod got no answer of {endpoint.url} without its key: "
        f"{detail or 'turned away'}. Who else can reach it is not known, because the operator does not run "
        f"it: {what_to_do}."
    )
    return ConditionUpdate(type_, "Unknown", Reason.ENDPOINT_NOT_OWNED, text)
