"""Who may read metrics of a guarded model, and how its traces get to their collector."""

from collections.abc import Iterable
from typing import Any

from safety_operator.api.guarded_deployment import GuardedDeploymentSpec
from safety_operator.api.guarded_telemetry import GuardedTelemetry
from safety_operator.children.guardrails import OTLP_HEADERS_ENV
from safety_operator.children.network_policy import Peer
from safety_operator.children.pod import SecretEnv
from safety_operator.children.service import METRICS_PORT
from safety_operator.planning.engine.references import Reference, secret_reference
from safety_operator.planning.guarded_deployment.endpoint import way_to

HEADERS = "spec.telemetry.headersSecretRef"
METRICS_OF_THEIR_OWN = frozenset({"vllm"})
"""Runtimes whose server shows metrics to whoever has no key, and nothing else but its health."""


def telemetry_references(spec: GuardedDeploymentSpec, stage: str) -> tuple[Reference, ...]:
    """The Secret of the collector's headers."""
    ref = spec.telemetry.headers_secret_ref if spec.telemetry else None
    return secret_reference(HEADERS, ref, OTLP_HEADERS_ENV, stage)


def otlp_headers(telemetry: GuardedTelemetry | None) -> tuple[SecretEnv, ...]:
    """The collector's headers, as the exporter reads them."""
    ref = telemetry.headers_secret_ref if telemetry else None
    return (SecretEnv(OTLP_HEADERS_ENV, ref.name, ref.key),) if ref else ()


def metrics_rule(scrapers: Iterable[Peer]) -> dict[str, Any]:
    """Who comes in at the port of metrics: scrapers, or everybody where none are named."""
    rule: dict[str, Any] = {"ports": [{"protocol": "TCP", "port": METRICS_PORT}]}
    peers = [dict(peer) for peer in scrapers]
    return rule | ({"from": peers} if peers else {})


def model_scrapers(runtime: str, scrapers: Iterable[Peer]) -> list[Peer]:
    """Who may reach the model server for its metrics; nobody who is not named."""
    return list(scrapers) if runtime in METRICS_OF_THEIR_OWN else []


def collector_rules(telemetry: GuardedTelemetry | None, namespace: str) -> list[dict[str, Any]]:
    """The way to the collector."""
    return way_to(telemetry.otlp_endpoint, namespace) if telemetry else []
