"""The rails of a GuardedDeployment besides content safety: keys, reach and configuration."""

import json

from tests.unit.planning.guarded_deployment.test_guarded_deployment import (
    configurations,
    container,
    deployment,
    make_open,
)
from tests.unit.planning.world import World

from safety_operator.children.guardrails_rails import JAILBREAK_KEY_ENV, SELF_CHECK_KEY_ENV, TOPIC_KEY_ENV
from safety_operator.state.keys import ObjectKey

CLASSIFIER = {"model": {"classifier": "prompt-harm-minilm"}}


def server(name: str) -> dict[str, object]:
    ref = {"name": name, "key": "k"}
    return {"url": f"http://{name}:8000/v1", "model": name, "apiKeySecretRef": ref}


def test_each_rails_server_gets_its_key_once_the_secret_is_there():
    jailbreak = {name: value for name, value in server("jail").items() if name != "model"}
    rails = {
        "contentSafety": CLASSIFIER,
        "topicControl": {"model": server("topics"), "policy": "cooking"},
        "selfCheck": {"endpoint": server("judge")},
        "jailbreak": jailbreak,
    }
    world = make_open(guardrails=rails)
    world.settle()
    assert world.condition("Stalled")["reason"] == "SecretMissing"
    assert "spec.guardrails." in world.condition("Stalled")["message"]
    for name in ("topics", "judge", "jail"):
        world.secrets[name] = "1"
    world.settle()
    env = {item["name"]: item for item in container(world, "guardrails")["env"]}
    wanted = {TOPIC_KEY_ENV: "topics", SELF_CHECK_KEY_ENV: "judge", JAILBREAK_KEY_ENV: "jail"}
    given = {name: env[name]["valueFrom"]["secretKeyRef"]["name"] for name in wanted}
    assert given == wanted
    policy = world.children[ObjectKey("NetworkPolicy", "assistant-guardeddeployment-guardrails")]
    assert policy["spec"]["egress"] == [{}], "the servers may be anywhere"


def test_rails_that_ask_nobody_outside_keep_the_endpoint_inside():
    rails = {
        "contentSafety": CLASSIFIER,
        "selfCheck": {},
        "sensitiveData": {"entities": ["US_SSN", "CREDIT_CARD"], "output": False},
        "refusals": [{"rail": "selfCheck", "language": "de", "text": "Nein."}],
    }
    world = make_open(guardrails=rails)
    world.settle()
    (name,) = configurations(world)
    settings = json.loads(world.children[ObjectKey("ConfigMap", name)]["data"]["gateway.json"])
    assert settings["sensitiveData"] == {"input": ["CREDIT_CARD", "US_SSN"], "output": []}
    assert settings["refusals"] == [{"rail": "selfCheck", "language": "de", "text": "Nein."}]
    policy = world.children[ObjectKey("NetworkPolicy", "assistant-guardeddeployment-guardrails")]
    assert policy["spec"]["egress"] != [{}]


def make_own(**data: str) -> World:
    rails = {"contentSafety": CLASSIFIER, "config": {"configMapRef": {"name": "mine"}}}
    world = make_open(guardrails=rails)
    if data:
        put(world, **data)
    return world


def put(world: World, **data: str) -> None:
    world.config_maps["mine"] = {"data": {name.replace("_", "."): text for name, text in data.items()}}


def test_an_own_configuration_is_copied_and_a_change_rolls_the_guardrails():
    world = make_own(config_yml="rails: {}", rails_co="define flow x")
    world.settle()
    (name,) = configurations(world)
    data = world.children[ObjectKey("ConfigMap", name)]["data"]
    assert (data["own.config.yml"], data["own.rails.co"]) == ("rails: {}", "define flow x")
    (volume,) = [
        item
        for item in deployment(world, "guardrails")["spec"]["template"]["spec"]["volumes"]
        if item["name"] == "config"
    ]
    paths = {item["key"]: item["path"] for item in volume["configMap"]["items"]}
    assert paths["own.rails.co"] == "own/rails.co"
    policy = world.children[ObjectKey("NetworkPolicy", "assistant-guardeddeployment-guardrails")]
    assert policy["spec"]["egress"] == [{}], "it may ask guards anywhere"
    put(world, config_yml="rails: {input: {}}")
    world.settle()
    assert configurations(world) != [name]


def test_an_own_configuration_that_is_missing_or_holds_code_leaves_what_runs_as_it_is():
    world = make_own()
    world.settle()
    assert world.condition("Stalled")["reason"] == "ConfigMapMissing"
    assert "config.yml" in world.condition("Stalled")["message"]
    put(world, config_yml="rails: {}")
    world.settle()
    before = configurations(world)
    put(world, config_yml="rails: {}", actions_py="import os")
    world.settle()
    assert "actions.py" in world.condition("GuardrailsReady")["message"]
    assert "no Python" in world.condition("Ready")["message"]
    assert configurations(world) == before
    put(world, config_yml="x" * 600_000)
    world.settle()
    assert "at most" in world.condition("GuardrailsReady")["message"]
