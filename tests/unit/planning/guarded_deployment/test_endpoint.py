"""Rails before a server that the operator does not run (``spec.model.endpoint``)."""

import json
from typing import Any

import pytest
from tests.unit.planning.examples import finished_eval, finished_finetune, make_guarded
from tests.unit.planning.guarded_deployment.guarded import GOOD, container, deployment
from tests.unit.planning.guarded_deployment.test_updates import settings_of
from tests.unit.planning.world import World, digest_of

from safety_operator.state.keys import ObjectKey

URL = "https://nim.example.com/v1"
ENDPOINT = {"url": URL, "model": "meta/llama-3.1-8b", "apiKeySecretRef": {"name": "nim", "key": "token"}}
DIGEST = digest_of("product")
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
CA = {"caConfigMapKeyRef": {"name": "trust", "key": "ca.crt"}}


def asked(url: str = URL, model: str = ENDPOINT["model"], digest: str | None = DIGEST) -> dict[str, Any]:
    """An evaluation that asked an endpoint."""
    found = finished_eval() | {"spec": {"model": {"endpoint": {"url": url, "model": model}}}}
    found["status"]["target"] = {"uri": url} | ({"digest": digest} if digest else {})
    return found


def make_endpoint(evaluation: dict[str, Any] | None = None, **fields: Any) -> World:
    endpoint = ENDPOINT | {"digest": DIGEST} | fields.pop("endpoint", {})
    endpoint = {name: value for name, value in endpoint.items() if value is not None}
    world = make_guarded(model={"endpoint": endpoint}, **fields)
    world.secrets = {"nim": "1"}
    world.refer("SafetyEval", "hardened", evaluation or asked())
    world.settle()
    return world


def make_serving(**fields: Any) -> World:
    world = make_endpoint(**fields)
    serve(world)
    world.succeed("prove", proof=GOOD)
    world.settle()
    return world


def serve(world: World) -> None:
    for role in ("classifier", "guardrails"):
        world.serve(role)
    world.settle()


def egress(world: World) -> list[dict[str, Any]]:
    policy = world.children[ObjectKey("NetworkPolicy", "assistant-guardeddeployment-guardrails")]
    found: list[dict[str, Any]] = policy["spec"]["egress"]
    return found


def test_no_model_is_served_and_the_rails_ask_the_endpoint_with_its_key():
    world = make_endpoint()
    roles = {child["metadata"]["labels"]["modelsafety.dev/role"] for child in world.children.values()}
    assert not {"model", "api-key", "fetch"} & roles
    model = settings_of(world)["model"]
    assert (model["url"], model["name"], model["keyEnv"]) == (URL, ENDPOINT["model"], "MAIN_MODEL_API_KEY")
    (key,) = (item for item in container(world, "guardrails")["env"] if item["name"] == "MAIN_MODEL_API_KEY")
    assert key["valueFrom"]["secretKeyRef"] == {"name": "nim", "key": "token"}
    assert {"ports": [{"protocol": "TCP", "port": 443}]} in egress(world)


def test_an_endpoint_without_a_key_is_asked_without_one():
    world = make_endpoint(endpoint={"apiKeySecretRef": None})
    assert "keyEnv" not in settings_of(world)["model"]
    (key,) = (item for item in container(world, "guardrails")["env"] if item["name"] == "MAIN_MODEL_API_KEY")
    assert key["value"] == "none"


def test_the_way_to_an_endpoint_of_another_namespace_is_that_namespace():
    world = make_endpoint(asked(), endpoint={"url": "http://nim.inference.svc:8000/v1"})
    labels = {"matchLabels": {"kubernetes.io/metadata.name": "inference"}}
    assert {"to": [{"namespaceSelector": labels}]} in egress(world)


def test_it_is_ready_and_says_that_nobody_knows_who_else_reaches_the_model():
    world = make_serving()
    ready, bypass = world.condition("Ready"), world.condition("BypassClosed")
    assert ready["status"] == "True"
    assert (bypass["status"], bypass["reason"]) == ("Unknown", "EndpointNotOwned")
    assert "apiKeySecretRef" in bypass["message"]
    assert bypass["message"] in ready["message"]
    assert (
        world.condition("ModelReady")["message"] == f"{ENDPOINT['model']} at {URL} answered the last proof."
    )
    assert world.status["served"]["modelDigest"] == DIGEST
    assert world.status["served"]["modelUri"] == URL
    assert world.status["revisions"][0]["provenAt"]


def test_the_proof_asks_the_endpoint_itself_without_its_key_and_nowhere_else():
    world = make_endpoint()
    serve(world)
    told = json.loads(world.specification("prove"))
    assert told["direct"]["baseUrl"] == URL
    assert told["directIsForeign"] is True
    assert "podsUrl" not in told
    (worker,) = world.job("prove")["spec"]["template"]["spec"]["containers"]
    (key,) = (item["valueFrom"]["secretKeyRef"]["name"] for item in worker["env"] if "valueFrom" in item)
    assert "-caller-key-" in key, "the proofs' own, for the guarded endpoint"
    policy = world.children[ObjectKey("NetworkPolicy", "assistant-guardeddeployment-egress-internet")]
    assert policy["spec"]["egress"] == [{}]


def test_an_endpoint_that_answers_without_its_key_is_an_open_bypass_with_what_to_do():
    world = make_endpoint()
    serve(world)
    seen = {"bypass_closed": False, "bypass_detail": "/chat/completions answered without a key"}
    world.succeed("prove", proof=GOOD.model_copy(update=seen))
    world.settle()
    bypass = world.condition("BypassClosed")
    assert (bypass["status"], bypass["reason"]) == ("False", "ProofFailed")
    assert "/chat/completions answered without a key" in bypass["message"]
    assert "let the server want a key" in bypass["message"]
    assert world.condition("Ready")["status"] == "False"


def test_an_endpoint_that_answers_nothing_is_named_with_what_to_check():
    world = make_endpoint()
    assert world.condition("ModelReady")["status"] == "Unknown"
    serve(world)
    world.succeed("prove", proof=GOOD.model_copy(update={"benign_answered": 0}))
    world.settle()
    found = world.condition("ModelReady")
    assert (found["status"], found["reason"]) == ("False", "NotReady")
    assert f"at {URL}" in found["message"]
    assert "apiKeySecretRef" in found["message"]


@pytest.mark.parametrize("evaluation", [asked(), finished_eval()])
def test_a_digest_that_somebody_vouches_for_opens_the_gate_which_says_what_is_not_known(evaluation):
    gate = make_endpoint(evaluation).condition("GatePassed")
    assert gate["status"] == "True"
    assert "vouched: the digest is the one that spec.model.endpoint.digest names" in gate["message"]
    assert "The operator does not run this server" in gate["message"]


def test_an_evaluation_of_another_digest_keeps_the_gate_shut():
    world = make_endpoint(asked(digest=digest_of("another")))
    assert world.condition("GatePassed")["status"] == "False"
    assert "is about another model" in world.condition("GatePassed")["message"]
    assert world.names("Deployment") == []


def test_without_a_digest_an_evaluation_of_the_same_endpoint_opens_the_gate():
    world = make_endpoint(asked(url=f"{URL}/", digest=None), endpoint={"digest": None})
    gate = world.condition("GatePassed")
    assert gate["status"] == "True"
    assert "nobody names a digest" in gate["message"]
    serve(world)
    served = world.status["served"]["modelDigest"]
    assert served.startswith("endpoint:")
    assert served == world.status["served"]["wantedModelDigest"]


@pytest.mark.parametrize("evaluation", [asked(url="https://other/v1"), asked(model="x"), finished_eval()])
def test_without_a_digest_no_other_evaluation_opens_the_gate(evaluation):
    gate = make_endpoint(evaluation, endpoint={"digest": None}).condition("GatePassed")
    assert (gate["status"], gate["reason"]) == ("False", "GateNotPassed")
    assert f"is not about {ENDPOINT['model']} at {URL}" in gate["message"]


def test_a_missing_key_is_told_before_anything_is_served():
    world = make_guarded(model={"endpoint": ENDPOINT | {"digest": DIGEST}})
    world.refer("SafetyEval", "hardened", asked())
    world.settle()
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "SecretMissing")
    assert "spec.model.endpoint.apiKeySecretRef: the Secret nim does not exist" in ready["message"]
    assert world.names("Deployment") == []


def test_a_changed_key_replaces_the_pods_and_a_deleted_one_leaves_them():
    world = make_serving()
    before = deployment(world, "guardrails")["spec"]["template"]
    world.secrets = {}
    world.settle()
    assert deployment(world, "guardrails")["spec"]["template"] == before
    assert world.condition("Ready")["reason"] == "SecretMissing"
    world.secrets = {"nim": "2"}
    world.settle()
    assert deployment(world, "guardrails")["spec"]["template"] != before


def test_authorities_reach_the_gateway_and_their_change_replaces_the_pods():
    world = make_guarded(model={"endpoint": ENDPOINT | {"digest": DIGEST} | CA})
    world.secrets = {"nim": "1"}
    world.refer("SafetyEval", "hardened", asked())
    world.settle()
    assert world.condition("Ready")["reason"] == "ConfigMapMissing"
    world.config_maps["trust"] = {"metadata": {"name": "trust"}, "data": {"ca.crt": "no certificate"}}
    world.settle()
    assert world.condition("Ready")["reason"] == "InvalidSpec"
    assert "no certificates in PEM" in world.condition("Ready")["message"]
    assert world.names("Deployment") == []
    world.config_maps["trust"] = {"metadata": {"name": "trust"}, "data": {"ca.crt": AUTHORITY}}
    world.settle()
    (name,) = [name for name in world.names("ConfigMap") if "-rails-config-" in name]
    assert world.children[ObjectKey("ConfigMap", name)]["data"]["authorities.pem"] == AUTHORITY


def test_another_endpoint_is_asked_only_once_its_gate_is_open():
    world = make_serving()
    other = {"url": "http://nim.inference.svc:8000/v1", "model": "m", "digest": digest_of("other")}
    world.edit(model={"endpoint": other})
    world.settle()
    assert world.condition("GatePassed")["status"] == "False"
    env = container(world, "guardrails")["env"]
    assert {"name": "nim", "key": "token"} in [item.get("valueFrom", {}).get("secretKeyRef") for item in env]
    assert world.condition("Available")["status"] == "True"
    assert {"ports": [{"protocol": "TCP", "port": 443}]} in egress(world), "the one before is still asked"
    world.refer("SafetyEval", "hardened", asked(digest=digest_of("other")))
    world.settle()
    serve(world)
    assert world.status["served"]["modelDigest"] == digest_of("other")
    assert world.status["served"]["modelUri"] == other["url"]
    world.succeed("prove", proof=GOOD)
    world.settle()
    assert {"ports": [{"protocol": "TCP", "port": 443}]} not in egress(world)


def test_a_regression_ends_the_rails_pods_where_the_spec_says_so_and_they_come_back():
    world = make_serving(gate={"evalRefs": [{"name": "hardened"}], "onRegression": "scaleDown"})
    failed = asked()
    failed["status"]["conditions"] = finished_eval(passed=False)["status"]["conditions"]
    world.refer("SafetyEval", "hardened", failed)
    world.settle()
    assert deployment(world, "guardrails")["spec"]["replicas"] == 0
    world.references.clear()
    world.settle()
    assert world.condition("GatePassed")["status"] == "Unknown"
    assert deployment(world, "guardrails")["spec"]["replicas"] == 0
    world.refer("SafetyEval", "hardened", asked())
    world.settle()
    assert deployment(world, "guardrails")["spec"]["replicas"] == 1


def test_a_model_that_is_served_here_gives_way_to_an_endpoint_and_back_without_a_gap():
    world = make_guarded()
    world.secrets = {"nim": "1"}
    world.refer("SafetyFinetune", "hardened", finished_finetune())
    world.refer("SafetyEval", "hardened", finished_eval())
    world.settle()
    for role in ("model", "classifier", "guardrails"):
        world.serve(role)
    world.settle()
    world.edit(model={"endpoint": ENDPOINT | {"digest": DIGEST}})
    world.settle()
    assert settings_of(world)["model"]["url"] == URL
    assert deployment(world, "model"), "pods of the version before still ask it"
    serve(world)
    assert "assistant-guardeddeployment-model" not in world.names("NetworkPolicy")
    assert len(world.names("Deployment")) == 2
    world.edit(model={"finetuneRef": {"name": "hardened"}})
    world.settle()
    asks = deployment(world, "guardrails")["metadata"]["annotations"]["modelsafety.dev/model-endpoint"]
    assert asks == URL, "until the model server answers"
    assert world.condition("Available")["status"] == "True"
    world.serve("model")
    world.settle()
    assert "modelsafety.dev/model-endpoint" not in deployment(world, "guardrails")["metadata"]["annotations"]


@pytest.mark.parametrize("host", ["assistant", "assistant.team.svc"])
def test_the_guarded_endpoint_does_not_ask_itself(host: str):
    world = make_endpoint(endpoint={"url": f"http://{host}:8000/v1"})
    assert world.condition("Ready")["reason"] == "InvalidSpec"
    assert "is this guarded endpoint itself: name the server" in world.condition("Ready")["message"]
    assert world.names("Deployment") == []
