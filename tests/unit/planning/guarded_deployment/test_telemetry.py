"""Metrics and traces of a guarded endpoint."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planning.guarded_deployment.test_guarded_deployment import container, make_open
from tests.unit.planning.guarded_deployment.test_updates import settings_of
from tests.unit.planning.world import SETTINGS, World

from safety_operator.state.keys import ObjectKey

SCRAPERS = ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},)
METRICS = [{"protocol": "TCP", "port": 9090}]
HTTP = [{"protocol": "TCP", "port": 8000}]


def policy(world: World, role: str) -> dict[str, Any]:
    key = ObjectKey("NetworkPolicy", f"assistant-guardeddeployment-{role}")
    return dict(world.children[key]["spec"])


def test_metrics_have_a_port_of_their_own_that_the_service_does_not_show():
    world = make_open()
    world.settle()
    found = container(world, "guardrails")
    assert {"name": "metrics", "containerPort": 9090} in [
        {name: port[name] for name in ("name", "containerPort")} for port in found["ports"]
    ]
    assert found["args"][-2:] == ["--metrics-port", "9090"]
    ports = world.children[ObjectKey("Service", "assistant")]["spec"]["ports"]
    assert [port["targetPort"] for port in ports] == [8000]


def test_everybody_may_read_the_gateways_metrics_where_no_scraper_is_named_and_nobody_the_models():
    world = make_open()
    world.settle()
    assert policy(world, "guardrails")["ingress"] == [{"ports": HTTP}, {"ports": METRICS}]
    (rule,) = policy(world, "model")["ingress"]
    assert len(rule["from"]) == 1


def test_scrapers_may_read_metrics_of_gateway_and_model_and_nobody_else():
    world = make_open()
    world.settings = replace(SETTINGS, metrics_peers=SCRAPERS)
    world.settle()
    assert policy(world, "guardrails")["ingress"][1] == {"ports": METRICS, "from": [*SCRAPERS]}
    (rule,) = policy(world, "model")["ingress"]
    assert rule["ports"] == HTTP
    assert rule["from"][1:] == [*SCRAPERS]
    (rule,) = policy(world, "classifier")["ingress"]
    assert len(rule["from"]) == 1


@pytest.mark.parametrize(
    ("url", "way"),
    [
        (
            "http://collector.tracing.svc:4318",
            {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "tracing"}}}]},
        ),
        (
            "http://collector:4318",
            {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "team"}}}]},
        ),
        ("https://otlp.example.com/otlp", {"ports": [{"protocol": "TCP", "port": 443}]}),
        ("http://10.0.0.1:4318", {"ports": [{"protocol": "TCP", "port": 4318}]}),
    ],
)
def test_traces_have_a_way_to_their_collector(url: str, way: dict[str, Any]):
    world = make_open(telemetry={"otlpEndpoint": url, "sampleRatio": "0.1"})
    world.settle()
    assert policy(world, "guardrails")["egress"][-1] == way
    assert settings_of(world)["telemetry"] == {"otlpEndpoint": url, "sampleRatio": 0.1}


def test_without_a_collector_there_is_no_way_and_no_setting():
    world = make_open()
    world.settle()
    assert "telemetry" not in settings_of(world)
    assert len(policy(world, "guardrails")["egress"]) == 3


def test_the_collectors_headers_are_a_variable_of_the_gateway():
    ref = {"name": "collector", "key": "headers"}
    world = make_open(telemetry={"otlpEndpoint": "http://c.t.svc:4318", "headersSecretRef": ref})
    world.settle()
    assert "spec.telemetry.headersSecretRef: the Secret collector" in world.condition("Ready")["message"]
    world.secrets = {"collector": "1"}
    world.settle()
    env = {item["name"]: item for item in container(world, "guardrails")["env"]}
    assert env["OTEL_EXPORTER_OTLP_HEADERS"]["valueFrom"]["secretKeyRef"]["name"] == "collector"
