"""TLS at the guarded endpoint itself."""

import json
from typing import Any

from tests.unit.planning.examples import guarded_deployment, make_eval
from tests.unit.planning.guarded_deployment.guarded import container, deployment, make_open, serve_all
from tests.unit.planning.guarded_deployment.test_exposure import ROUTE
from tests.unit.planning.world import World

from safety_operator.state.keys import ObjectKey

TLS = {"tls": {"secretName": "assistant-tls"}}


def make_tls(**expose: object) -> World:
    world = make_open(expose=TLS | expose)
    world.secrets = {"assistant-tls": "1"}
    world.settle()
    return world


def test_pods_probes_and_service_speak_https():
    world = make_tls(service={"port": 443})
    pod = container(world, "guardrails")
    assert pod["args"][-2:] == ["--tls", "/tls"]
    assert {pod[f"{kind}Probe"]["httpGet"]["scheme"] for kind in ("startup", "readiness", "liveness")} == {
        "HTTPS"
    }
    volumes = deployment(world, "guardrails")["spec"]["template"]["spec"]["volumes"]
    (volume,) = (item for item in volumes if item["name"] == "tls")
    assert volume["secret"]["secretName"] == "assistant-tls"
    (port,) = world.children[ObjectKey("Service", "assistant")]["spec"]["ports"]
    assert (port["name"], port["appProtocol"], port["port"]) == ("https", "https", 443)
    serve_all(world)
    assert world.status["endpoint"] == "https://assistant.team.svc:443/v1"


def test_the_model_and_the_classifier_stay_as_they_are():
    world = make_tls()
    for role in ("model", "classifier"):
        assert "scheme" not in container(world, role)["readinessProbe"]["httpGet"]


def test_the_proof_asks_by_https_and_knows_the_certificate_but_not_its_key():
    world = make_tls()
    serve_all(world)
    told = json.loads(world.specification("prove"))
    assert told["guarded"]["baseUrl"] == "https://assistant.team.svc:8000/v1"
    assert_shows(world.job("prove"), told["guarded"]["certificate"])


def test_a_missing_secret_is_told_before_anything_is_served():
    world = make_open(expose=TLS)
    world.settle()
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "SecretMissing")
    assert "spec.expose.tls.secretName: the Secret assistant-tls does not exist" in ready["message"]
    assert "tls.crt and tls.key" in ready["message"]
    assert world.names("Deployment") == []


def test_behind_a_gateway_it_says_what_the_gateway_needs():
    assert (
        "BackendTLSPolicy names the Service assistant"
        in make_tls(httpRoute=ROUTE).condition("Exposed")["message"]
    )


def test_an_evaluation_through_such_rails_asks_by_https_and_knows_the_certificate_but_not_its_key():
    world = make_eval(model={"guardedDeploymentRef": {"name": "assistant"}}, accuracy=[])
    found = guarded_deployment()
    found["spec"]["expose"] = TLS
    world.refer("GuardedDeployment", "assistant", found)
    world.settle()
    assert world.condition("Ready")["reason"] == "WaitingForReference"  # while TLS is being turned on
    found["status"]["endpoint"] = "https://assistant.team.svc:8000/v1"
    world.refer("GuardedDeployment", "assistant", found)
    world.settle()
    for stage in ("generate", "scan"):
        told = json.loads(world.specification(stage))["target"]
        assert told["baseUrl"] == "https://assistant.team.svc:8000/v1"
        assert_shows(world.job(stage), told["certificate"])


def assert_shows(job: dict[str, Any], certificate: str) -> None:
    """A Job's pod has a Secret's certificate at a path, and no key."""
    pod = job["spec"]["template"]["spec"]
    (volume,) = (item for item in pod["volumes"] if "secret" in item)
    assert volume["secret"]["secretName"] == "assistant-tls"
    assert [item["key"] for item in volume["secret"]["items"]] == ["tls.crt"]
    mounts = [item for item in pod["containers"][0]["volumeMounts"] if item["name"] == volume["name"]]
    assert [f"{item['mountPath']}/tls.crt" for item in mounts] == [certificate]
    assert "tls.key" not in json.dumps(job)
