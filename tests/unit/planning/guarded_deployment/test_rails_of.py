"""The rails of a GuardedDeployment besides content safety: keys, reach and configuration."""

import json

from tests.unit.planning.guarded_deployment.test_guarded_deployment import (
    configurations,
    container,
    make_open,
)

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
