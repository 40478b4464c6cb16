"""Who may ask a guarded endpoint."""

import json
from typing import Any

from tests.unit.planning.examples import guarded_deployment, make_eval
from tests.unit.planning.guarded_deployment.guarded import (
    container,
    deployment,
    make_open,
    make_serving,
)
from tests.unit.planning.guarded_deployment.test_updates import settings_of

KEYS = [
    {"name": "team-a", "secretRef": {"name": "team-a", "key": "token"}, "requestsPerMinute": 60},
    {"name": "team-b", "secretRef": {"name": "team-b", "key": "token"}},
]
SECRETS = {"team-a": "1", "team-b": "1"}


def mounted(world: Any) -> list[tuple[str, str, str]]:
    """Secret, key and file of each caller."""
    volumes = deployment(world, "guardrails")["spec"]["template"]["spec"]["volumes"]
    (keys,) = (volume["projected"]["sources"] for volume in volumes if volume["name"] == "keys")
    secrets = (source["secret"] for source in keys)
    return [(s["name"], s["items"][0]["key"], s["items"][0]["path"]) for s in secrets]


def test_callers_keys_are_files_of_the_gateway_and_never_variables():
    world = make_open(access={"keys": KEYS})
    world.secrets = SECRETS
    world.settle()
    *others, own = mounted(world)
    assert others == [("team-a", "token", "team-a"), ("team-b", "token", "team-b")]
    assert own[2] == "operator"
    assert own[0] in world.names("Secret")
    assert [c["name"] for c in settings_of(world)["callers"]] == ["team-a", "team-b", "operator"]
    env = [item["name"] for item in container(world, "guardrails")["env"]]
    assert not [name for name in env if "team" in name.lower()]


def test_proofs_ask_with_a_key_of_their_own():
    world = make_open(access={"keys": KEYS})
    world.secrets = SECRETS
    world.settle()
    for role in ("model", "classifier", "guardrails"):
        world.serve(role)
    world.settle()
    (env,) = (
        item
        for item in world.job("prove")["spec"]["template"]["spec"]["containers"][0]["env"]
        if "valueFrom" in item and "secretKeyRef" in item["valueFrom"]
    )
    assert env["valueFrom"]["secretKeyRef"]["name"] == mounted(world)[-1][0]
    assert f'"{env["name"]}"' in world.specification("prove")


def test_a_callers_missing_secret_is_told_before_anything_is_served():
    world = make_open(access={"keys": KEYS})
    world.secrets = {"team-a": "1"}
    world.settle()
    found = world.condition("Ready")
    assert found["reason"] == "SecretMissing"
    assert "spec.access.keys[1].secretRef: the Secret team-b does not exist" in found["message"]


def test_without_keys_everybody_may_ask_and_proofs_have_a_key_all_the_same():
    world = make_serving()
    assert settings_of(world)["callers"] == []
    ((secret, _, path),) = mounted(world)
    assert path == "operator"
    assert secret in world.names("Secret")
    world.wait(301)
    world.settle()
    assert f'"name": "{secret}"' in json.dumps(world.job("prove"))


def test_an_evaluation_through_the_rails_asks_with_its_callers_key():
    served = guarded_deployment()
    served["spec"]["access"] = {"keys": KEYS}
    model: dict[str, Any] = {"guardedDeploymentRef": {"name": "assistant"}}
    world = make_eval(model=model, security=None, accuracy=[])
    world.refer("GuardedDeployment", "assistant", served)
    world.settle()
    found = world.condition("Ready")
    assert found["reason"] == "InvalidSpec"
    assert "GuardedDeployment assistant wants API keys: set spec.model.apiKeySecretRef" in found["message"]
    world.edit(model=model | {"apiKeySecretRef": {"name": "team-a", "key": "token"}})
    world.secrets = SECRETS
    world.settle()
    env = world.job("generate")["spec"]["template"]["spec"]["containers"][0]["env"]
    (key,) = (item for item in env if item["name"] == "TARGET_API_KEY")
    assert key["valueFrom"]["secretKeyRef"] == {"name": "team-a", "key": "token"}
    assert "TARGET_API_KEY" in world.specification("generate")
