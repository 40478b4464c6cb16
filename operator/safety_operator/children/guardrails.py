"""The guarded endpoint: its configuration and its Deployment.

The pods run ``safety_gateway`` of the guardrails image. The ConfigMap holds its settings and the rails' own
configuration; the prompts of the guards, the same for every resource, are in ``guardrails_files``.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import yaml

from safety_operator.api.common import ModelEndpoint, SecretKeyRef
from safety_operator.api.guarded_deployment import OWN_CALLER, CallerKey, GuardedStreaming, Guardrails
from safety_operator.api.guarded_endpoints import GuardedEndpoints
from safety_operator.api.guarded_rails import GuardEndpoint, RailRefusal
from safety_operator.api.guarded_telemetry import GuardedTelemetry
from safety_operator.children.deployment import (
    ANSWER_SECONDS,
    SURGE,
    build_server_deployment,
    draining,
    http_probes,
    spread,
)
from safety_operator.children.guardrails_rails import (
    ENDPOINT_SECONDS,
    GUARD_KEY_ENV,
    MAIN_KEY_ENV,
    SELF_CHECK_KEY_ENV,
    TOPIC_KEY_ENV,
    FurtherRails,
    guard_model,
    prompts,
)
from safety_operator.children.metadata import Owner, canonical_hash, child_metadata, with_hash
from safety_operator.children.pod import Mount, SecretEnv, build_container, build_pod_template
from safety_operator.children.pod_options import EffectiveOptions
from safety_operator.children.resources import ResourceSet, Wanted
from safety_operator.children.service import METRICS_PORT, SERVER_PORT
from safety_operator.state.settings import Images

RESOURCES = ResourceSet(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "1Gi"})
"""Measured: 135 MiB after start."""
STARTUP_SECONDS = 240
"""Measured: 3 to 8 s on free cores."""
CLASSIFIER_SECONDS = 120
"""Longest time for a verdict of the classifier, which takes a minute of two cores for the longest text."""
OTLP_HEADERS_ENV = "OTEL_EXPORTER_OTLP_HEADERS"
"""Where OpenTelemetry's exporter reads the headers for a collector."""
NOTICE_SECONDS = 5
"""Time for Services, load balancers and clients to learn that a pod is on its way out: it still answers, and
each answer closes its connection."""
NO_KEY = "none"
"""The client library wants a value even where the server wants no key."""
KEYS_PATH, TLS_PATH, AUDIT_PATH = "/keys", "/tls", "/audit"
SHOWN_PATH = "/shown"
SHOWN_CERTIFICATE = f"{SHOWN_PATH}/tls.crt"
"""The endpoint's certificate in pods that ask it."""
TLS_VOLUME = "tls"
CONFIG_HASH = "modelsafety.dev/config-hash"
"""Annotation of the pods: a changed configuration rolls them."""

AUTHORITIES_FILE = "authorities.pem"
PATHS = {
    "gateway.json": "gateway.json",
    "config.yml": "rails/config.yml",
    "prompts.yml": "rails/prompts.yml",
    AUTHORITIES_FILE: AUTHORITIES_FILE,
}
"""By key of the ConfigMap: path under /config."""


OWN_PREFIX = "own."
"""Before the names of a user's own files among the ConfigMap's keys."""


@dataclass(frozen=True, slots=True)
class RailsConfig:
    """What the rails' configuration depends on."""

    model_url: str
    """Base URL of the main model, up to /v1."""
    model_name: str
    """The model's name at its server."""
    served_name: str
    """The model's name in users' requests."""
    guard_url: str
    guard_name: str
    guard_format: str
    """How the guard is asked: ``classifier``, or the format of an endpoint."""
    check_input: bool
    check_output: bool
    refusal: str
    streaming: GuardedStreaming
    speculative: bool
    show_reasoning: bool
    opens_reasoning: bool
    """Whether the model's answers begin within reasoning that its server leaves in."""
    model_wants_key: bool = True
    """Whether the model's server gets an API key."""
    authorities: str = ""
    """Certificates (PEM) of authorities for servers outside, besides those that the image trusts."""
    callers: tuple[CallerKey, ...] = ()
    """Who may ask, besides the operator's own proofs; empty: everybody."""
    replicas: int = 1
    """Pods that share the callers' limits."""
    audit_text: bool = False
    refusals: tuple[RailRefusal, ...] = ()
    own: tuple[tuple[str, str], ...] = ()
    """Files of a user's own configuration by name, in order."""
    further: FurtherRails = field(default_factory=FurtherRails)
    telemetry: GuardedTelemetry | None = None
    endpoints: GuardedEndpoints = field(default_factory=GuardedEndpoints)
    tool_calls: str = "{}"
    """What the spec says of tools, as JSON: a list could not be remembered by."""

    @property
    def guard_seconds(self) -> int:
        """Longest time for a verdict."""
        return CLASSIFIER_SECONDS if self.guard_format == "classifier" else ENDPOINT_SECONDS


@dataclass(frozen=True, slots=True)
class RailsFiles:
    """A configuration."""

    data: Mapping[str, str]
    """By key of the ConfigMap."""
    digest: str
    """Hash of ``data``."""


@lru_cache(maxsize=1024)
def build_rails_files(config: RailsConfig) -> RailsFiles:
    """The configuration's files. Remembered: rendering takes as long as all the rest of a plan."""
    data = {
        "gateway.json": json.dumps(_settings(config), indent=1),
        "config.yml": yaml.safe_dump(_rails(config), sort_keys=False, width=1000),
        "prompts.yml": f"prompts:\n{prompts(config.guard_format)}{config.further.prompts()}",
    }
    data |= {AUTHORITIES_FILE: config.authorities} if config.authorities else {}
    data |= {f"{OWN_PREFIX}{name}": text for name, text in config.own}
    return RailsFiles(data, canonical_hash(data))


def path_of(key: str) -> str:
    """Path under /config of a key of the ConfigMap."""
    return PATHS.get(key) or f"own/{key.removeprefix(OWN_PREFIX)}"


def _settings(config: RailsConfig) -> dict[str, Any]:
    """What ``safety_gateway.settings`` reads."""
    return {
        "servedName": config.served_name,
        "model": {
            "url": config.model_url,
            "name": config.model_name,
            **({"keyEnv": MAIN_KEY_ENV} if config.model_wants_key else {}),
            "timeoutSeconds": ANSWER_SECONDS,
            "showReasoning": config.show_reasoning,
            "opensReasoning": config.opens_reasoning,
        },
        "streaming": config.streaming.model_dump(mode="json", by_alias=True),
        "speculative": config.speculative,
        "callers": [_caller(caller, config.replicas) for caller in config.callers]
        + ([{"name": OWN_CALLER}] if config.callers else []),
        "auditText": config.audit_text,
        "refusal": config.refusal,
        **_refusals(config.refusals),
        "guardTimeoutSeconds": config.guard_seconds,
        **config.further.settings(),
        **_telemetry(config.telemetry),
        **_endpoints(config.endpoints),
        **_tool_calls(config.tool_calls),
    }


def _endpoints(endpoints: GuardedEndpoints) -> dict[str, Any]:
    asked = {name: True for name, wanted in endpoints.model_dump(by_alias=True).items() if wanted}
    return {"endpoints": asked} if asked else {}


def _tool_calls(rules: str) -> dict[str, Any]:
    found = json.loads(rules)
    return {"toolCalls": found} if found else {}


def _telemetry(telemetry: GuardedTelemetry | None) -> dict[str, Any]:
    if telemetry is None:
        return {}
    ratio = float(telemetry.sample_ratio)
    return {"telemetry": {"otlpEndpoint": telemetry.otlp_endpoint, "sampleRatio": ratio}}


def _refusals(refusals: Sequence[RailRefusal]) -> dict[str, Any]:
    found = [item.model_dump(mode="json", by_alias=True) for item in refusals]
    return {"refusals": found} if found else {}


def _caller(caller: CallerKey, replicas: int) -> dict[str, Any]:
    """A caller's limits at one pod, which knows nothing of the others."""
    limits = {
        "requestsPerMinute": caller.requests_per_minute,
        "tokensPerMinute": caller.tokens_per_minute,
    }
    shares = {name: -(-limit // replicas) for name, limit in limits.items() if limit is not None}
    return {"name": caller.name, **shares} | (
        {"maxBodyBytes": caller.max_request_bytes} if caller.max_request_bytes else {}
    )


def keys_mount(callers: Sequence[CallerKey], own: SecretKeyRef) -> Mount:
    """The callers' keys, and that of proofs, as files by their names; the kubelet renews them."""
    keys = {caller.name: caller.secret_ref for caller in callers} | {OWN_CALLER: own}
    sources = [
        {"secret": {"name": ref.name, "items": [{"key": ref.key, "path": name}]}}
        for name, ref in keys.items()
    ]
    return Mount("keys", KEYS_PATH, {"projected": {"sources": sources}})


def tls_mount(secret: str) -> Mount:
    """The endpoint's own certificate and its key; the kubelet renews them."""
    items = [{"key": key, "path": key} for key in ("tls.crt", "tls.key")]
    return Mount(TLS_VOLUME, TLS_PATH, {"secret": {"secretName": secret, "items": items}})


def shown_mount(secret: str) -> Mount:
    """The certificate that the endpoint shows, without its key, for pods that ask it."""
    items = [{"key": "tls.crt", "path": "tls.crt"}]
    return Mount("shown", SHOWN_PATH, {"secret": {"secretName": secret, "items": items}})


def audit_mount(claim: str, owner: Owner) -> Mount:
    """The folder for a resource's audit trail, and nothing else, of the artifact store's claim.

    No namespace, which has its artifacts in a folder of its name, can be called as the first folder.
    """
    source = {"persistentVolumeClaim": {"claimName": claim}}
    folder = f"audit.trails/{owner.namespace}/{owner.name}"
    return Mount("audit", AUDIT_PATH, source, read_only=False, sub_path=folder)


def _rails(config: RailsConfig) -> dict[str, Any]:
    """NeMo Guardrails' configuration; rails of one direction run at the same time."""
    guard = GuardEndpoint(url=config.guard_url, model=config.guard_name)
    main = ModelEndpoint(url=config.model_url, model=config.model_name)
    safety = guard_model("content_safety", guard, GUARD_KEY_ENV, config.guard_seconds)
    rails = {}
    for direction, wanted in (("input", config.check_input), ("output", config.check_output)):
        flows = [f"content safety check {direction} $model=content_safety"] if wanted else []
        flows += config.further.flows(direction)
        if flows:
            rails[direction] = {"flows": flows} | ({"parallel": True} if len(flows) > 1 else {})
    return {"colang_version": "1.0", "models": [safety, *config.further.models(main)], "rails": rails}


def build_rails_config_map(owner: Owner, role: str, name: str, data: Mapping[str, str]) -> dict[str, Any]:
    """The ConfigMap of one version: a new version gets a new one, so that old pods keep theirs."""
    return with_hash(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": child_metadata(owner, role, name),
            "immutable": True,
            "data": dict(data),
        }
    )


def build_guardrails_server(
    owner: Owner,
    role: str,
    name: str,
    *,
    config_map: str,
    config_hash: str,
    config_keys: Iterable[str],
    main_key: SecretEnv | None,
    rail_keys: Sequence[SecretEnv],
    keys: Mount,
    tls: Mount | None,
    audit: Mount | None,
    audit_days: int | None,
    images: Images,
    options: EffectiveOptions,
    rails: Guardrails,
    replicas: int | None,
    annotations: dict[str, str],
    pod_annotations: dict[str, str],
    pod_labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The Deployment of the rails, which read a version of their configuration."""
    items = [{"key": key, "path": path_of(key)} for key in config_keys]
    config = Mount("config", "/config", {"configMap": {"name": config_map, "items": items}})
    mounts = (config, keys, *([tls] if tls else []), *([audit] if audit else []))
    given = (*([main_key] if main_key else ()), *rail_keys)
    env = {
        "NEMO_GUARDRAILS_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    container = build_container(
        "guardrails",
        rails.image or images.guardrails,
        pull_policy=images.pull_policy,
        resources=Wanted(RESOURCES, rails.resources).settle(options.resources),
        options=options,
        mounts=mounts,
        command=("python", "-m", "safety_gateway"),
        args=(
            *("--config", "/config", "--keys", KEYS_PATH),
            *("--notice-seconds", str(NOTICE_SECONDS), "--grace-seconds", str(ANSWER_SECONDS)),
            *("--port", str(SERVER_PORT), "--metrics-port", str(METRICS_PORT)),
            *(("--tls", TLS_PATH) if tls else ()),
            *(("--audit", AUDIT_PATH) if audit else ()),
            *(("--audit-days", str(audit_days)) if audit_days else ()),
        ),
        env=env | _absent_keys(rails, given),
        secret_env=given,
        ports={"http": SERVER_PORT, "metrics": METRICS_PORT},
        probes=http_probes(
            "/v1/health", ready_path="/v1/health/ready", startup_seconds=STARTUP_SECONDS, tls=tls is not None
        ),
    )
    template = build_pod_template(
        owner,
        role,
        container,
        options=options,
        images=images,
        mounts=mounts,
        instance=name,
        annotations=pod_annotations | {CONFIG_HASH: config_hash},
    )
    template["metadata"]["labels"] |= pod_labels or {}
    return build_server_deployment(
        owner,
        role,
        name,
        spread(draining(template, ANSWER_SECONDS), name),
        replicas=replicas,
        strategy=SURGE,
        deadline_seconds=STARTUP_SECONDS + 300,
        annotations=annotations,
    )


def _absent_keys(rails: Guardrails, given: Sequence[SecretEnv]) -> dict[str, str]:
    """Variables of servers that want no key."""
    asked = {
        MAIN_KEY_ENV: True,
        GUARD_KEY_ENV: True,
        TOPIC_KEY_ENV: rails.topic_control,
        SELF_CHECK_KEY_ENV: rails.self_check,
    }
    names = {key.name for key in given}
    return {name: NO_KEY for name, rail in asked.items() if rail and name not in names}
