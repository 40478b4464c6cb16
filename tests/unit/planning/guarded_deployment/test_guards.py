"""Guard models that the operator serves: their own, and those that several GuardedDeployments ask."""

from typing import Any

import pytest
import yaml
from tests.unit.planning.examples import make_guarded
from tests.unit.planning.guarded_deployment.guarded import (
    GOOD,
    configurations,
    container,
    deployment,
    make_open,
)
from tests.unit.planning.guarded_deployment.test_blue_green import prove_new
from tests.unit.planning.world import World, digest_of

from safety_operator.planning.guarded_deployment.guards import ASKS
from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import LABEL_ROLE

ROLE = "guard-content-safety"
SOURCE = {"uri": "hf://nvidia/guard", "tokenSecretRef": {"name": "hub", "key": "token"}}
OWN: dict[str, Any] = {"source": SOURCE, "serving": {"maxModelLen": 4096, "device": "gpu"}}
OTHERS: dict[str, Any] = {"guardedDeploymentRef": {"name": "first"}}


def make(model: dict[str, Any], **rails: Any) -> World:
    world = make_open(guardrails={"contentSafety": {"model": model}} | rails)
    world.secrets["hub"] = "1"
    return world


def make_fetched(**rails: Any) -> World:
    world = make(OWN, **rails)
    world.settle()
    world.succeed("fetch-content-safety", output="guard")
    world.settle()
    return world


def serve(world: World, *roles: str) -> None:
    for role in roles:
        world.serve(role)
    world.settle()


def other(rails: dict[str, Any], **status: Any) -> dict[str, Any]:
    """Another GuardedDeployment, which serves a guard."""
    return {
        "kind": "GuardedDeployment",
        "metadata": {"name": "first", "namespace": "team", "generation": 1},
        "spec": {
            "model": {"source": {"uri": "hf://a/b"}},
            "gate": {"none": True},
            "guardrails": {"contentSafety": {"model": rails}},
        },
        "status": status,
    }


def rails_policy(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.children[
        ObjectKey("NetworkPolicy", "assistant-guardeddeployment-guardrails")
    ]["spec"]
    return found


def rails_config(world: World) -> dict[str, Any]:
    (name,) = configurations(world)
    found: dict[str, Any] = yaml.safe_load(world.children[ObjectKey("ConfigMap", name)]["data"]["config.yml"])
    return found


def test_nothing_is_served_before_the_guard_is_fetched_and_the_condition_says_which():
    world = make(OWN)
    world.settle()
    assert not world.status.get("guards")
    assert not world.names("Deployment")
    found = world.condition("GuardrailsReady")
    assert found["status"] == "Unknown"
    assert "spec.guardrails.contentSafety.model" in found["message"]
    assert world.job("fetch-content-safety")


def test_a_guard_that_cannot_be_fetched_is_told():
    world = make(OWN)
    world.secrets = {}
    world.settle()
    found = world.condition("Stalled")
    assert found["reason"] == "SecretMissing"
    assert "spec.guardrails.contentSafety.model.source.tokenSecretRef" in found["message"]


def test_a_fetched_guard_is_served_with_its_own_serving_and_asked_by_the_rails():
    world = make_fetched()
    args = container(world, ROLE)["args"]
    assert args[args.index("--max-model-len") + 1] == "4096"
    assert container(world, ROLE)["resources"]["limits"]["nvidia.com/gpu"] == 1
    (model,) = [item for item in rails_config(world)["models"] if item["type"] == "content_safety"]
    name = deployment(world, ROLE)["metadata"]["name"]
    assert model["parameters"]["base_url"] == f"http://{name}.team.svc:8000/v1"
    assert ObjectKey("Service", name) in world.children


def test_only_guardrails_reach_a_guard_and_they_reach_nothing_outside():
    world = make_fetched()
    policy = world.children[ObjectKey("NetworkPolicy", f"assistant-guardeddeployment-{ROLE}")]["spec"]
    (rule,) = policy["ingress"]
    selectors = [peer["podSelector"]["matchLabels"] for peer in rule["from"]]
    assert selectors[0][LABEL_ROLE] == "guardrails"
    assert selectors[1][f"{ASKS}content-safety"] == "assistant"
    assert selectors[1][LABEL_ROLE] == "guardrails", "no other pod of a GuardedDeployment"
    assert policy["egress"] == []
    assert rails_policy(world)["egress"] != [{}]
    assert ROLE in str(rails_policy(world)["egress"])


def test_the_rails_are_ready_only_with_their_guard():
    world = make_fetched()
    serve(world, "model", "guardrails")
    found = world.condition("GuardrailsReady")
    assert found["status"] == "Unknown"
    assert "guard model for contentSafety" in found["message"]
    serve(world, ROLE)
    assert world.condition("GuardrailsReady")["status"] == "True"
    (guard,) = world.status["guards"]
    assert (guard["rail"], guard["digest"], guard["ready"]) == ("content-safety", digest_of("guard"), True)


def test_another_guard_is_another_configuration_and_what_runs_stays_until_it_is_fetched():
    world = make_fetched()
    serve(world, "model", "guardrails", ROLE)
    before = world.status["served"]["configHash"]
    newer = OWN | {"source": SOURCE | {"uri": "hf://nvidia/guard2"}}
    world.edit(guardrails={"contentSafety": {"model": newer}})
    world.settle()
    old = str(deployment(world, ROLE)["spec"])
    assert world.condition("Available")["status"] == "True"
    world.succeed("fetch-content-safety", output="guard2")
    world.settle()
    assert str(deployment(world, ROLE)["spec"]) != old
    serve(world, "model", "guardrails", ROLE)
    assert world.status["served"]["configHash"] != before


def test_arguments_of_a_guard_reach_its_engine_and_are_part_of_what_is_proven():
    world = make_fetched()
    serve(world, "model", "guardrails", ROLE)
    before = world.status["guards"][0]["hash"]
    args = ["--max-num-seqs", "64", "--pipeline-parallel-size=2"]
    world.edit(guardrails={"contentSafety": {"model": {**OWN, "serving": {**OWN["serving"], "args": args}}}})
    world.settle()
    server = container(world, ROLE)
    assert server["args"][-3:] == args
    assert server["resources"]["limits"]["nvidia.com/gpu"] == 2
    serve(world, ROLE, "guardrails")
    assert world.status["guards"][0]["hash"] != before


def test_a_guard_that_no_rail_asks_any_more_is_taken_away():
    world = make_fetched()
    serve(world, "model", "guardrails", ROLE)
    world.edit(guardrails={"contentSafety": {"model": {"classifier": "prompt-harm-minilm"}}})
    world.settle()
    assert deployment(world, ROLE)
    world.draining = frozenset({deployment(world, "guardrails")["metadata"]["name"]})
    serve(world, "classifier", "guardrails")
    assert deployment(world, ROLE), "old guardrails still ask it about the answers that they have begun"
    assert ROLE in str(rails_policy(world)["egress"])
    world.draining = frozenset()
    world.settle()
    assert not [key for key in world.children if ROLE in key.name and key.kind != "Job"]
    assert ROLE not in str(rails_policy(world)["egress"])


def test_pods_of_a_guard_leave_drained_nodes_one_by_one_where_there_are_several():
    world = make({**OWN, "serving": {"device": "gpu", "replicas": 2}})
    world.settle()
    world.succeed("fetch-content-safety", output="guard")
    world.settle()
    key = ObjectKey("PodDisruptionBudget", deployment(world, ROLE)["metadata"]["name"])
    budget = world.children[key]["spec"]
    labels = deployment(world, ROLE)["spec"]["template"]["metadata"]["labels"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    world.edit(guardrails={"contentSafety": {"model": {**OWN, "serving": {"device": "gpu"}}}})
    serve(world, "model", "guardrails", ROLE)
    assert deployment(world, ROLE)["spec"]["replicas"] == 1
    assert key not in world.children


def test_judges_of_topics_and_policies_are_served_too():
    judge = {"source": SOURCE, "serving": {"device": "gpu", "args": ["--quantization=fp8"]}}
    world = make_fetched(topicControl={"model": judge, "policy": "Cooking."}, selfCheck={"model": judge})
    world.succeed("fetch-topic-control", output="topics")
    world.succeed("fetch-self-check", output="judge")
    world.settle()
    kinds = {item["type"]: item for item in rails_config(world)["models"]}
    for role, kind in (("guard-topic-control", "topic_control"), ("guard-self-check", "self_check_input")):
        name = deployment(world, role)["metadata"]["name"]
        assert name in kinds[kind]["parameters"]["base_url"]
        assert container(world, role)["args"][-1] == "--quantization=fp8"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "waiting for GuardedDeployment first"),
        (other(OWN), "fetch its guard model"),
        (other({"classifier": "prompt-harm-minilm"}), "serves no guard"),
        (other({"nonsense": 1}), "not one of this version"),
    ],
)
def test_the_guard_of_another_is_waited_for_in_words(found: dict[str, Any] | None, words: str):
    world = make(OTHERS)
    if found:
        world.refer("GuardedDeployment", "first", found)
    world.settle()
    assert not world.names("Deployment")
    assert words.lower() in world.condition("GuardrailsReady")["message"].lower()


def test_several_ask_one_guard_which_knows_them_by_a_label():
    world = make(OTHERS)
    guard = {"rail": "content-safety", "digest": digest_of("g"), "hash": "h", "format": "nemotron"}
    world.refer("GuardedDeployment", "first", other(OWN | {"format": "nemotron"}, guards=[guard]))
    world.settle()
    labels = deployment(world, "guardrails")["spec"]["template"]["metadata"]["labels"]
    assert labels[f"{ASKS}content-safety"] == "first"
    assert not [name for name in world.names("Deployment") if ROLE in name]
    serve(world, "model", "guardrails")
    assert "of GuardedDeployment first" in world.condition("GuardrailsReady")["message"]
    (model,) = [item for item in rails_config(world)["models"] if item["type"] == "content_safety"]
    assert "http://first-guard-content-safety-" in model["parameters"]["base_url"]
    world.refer("GuardedDeployment", "first", other(OWN, guards=[guard | {"ready": True}]))
    world.settle()
    assert world.condition("GuardrailsReady")["status"] == "True"
    before = world.status["served"]["wantedConfigHash"]
    world.refer("GuardedDeployment", "first", other(OWN, guards=[guard | {"ready": True, "hash": "i"}]))
    world.settle()
    assert world.status["served"]["wantedConfigHash"] != before


def test_a_guard_is_served_before_a_server_of_others_too():
    world = make_guarded(
        model={"endpoint": {"url": "https://nim.example.com/v1", "model": "llama"}},
        gate={"none": True},
        guardrails={"contentSafety": {"model": OWN}},
    )
    world.secrets["hub"] = "1"
    world.settle()
    world.succeed("fetch-content-safety", output="guard")
    world.settle()
    assert [name for name in world.names("Deployment") if ROLE in name]
    assert [name for name in world.names("ConfigMap") if "server-files" in name], "what its pods mount"


def test_with_two_tracks_another_guard_comes_up_next_to_the_one_that_is_asked():
    world = make(OWN)
    world.edit(rollout={"strategy": "BlueGreen"})
    world.settle()
    world.succeed("fetch-content-safety", output="guard")
    world.settle()
    serve(world, "model", "guardrails", ROLE)
    world.succeed("prove", proof=GOOD)
    world.settle()
    (old,) = [child for key, child in world.children.items() if key.kind == "Deployment" and ROLE in key.name]
    world.edit(guardrails={"contentSafety": {"model": OWN | {"source": SOURCE | {"uri": "hf://nvidia/2"}}}})
    world.settle()
    world.succeed("fetch-content-safety", output="guard2")
    world.settle()
    guards = {key.name: child for key, child in world.children.items() if key.kind == "Deployment"}
    assert len([name for name in guards if ROLE in name]) == 2
    assert guards[old["metadata"]["name"]]["spec"] == old["spec"]
    assert world.status["guards"][0]["digest"] == digest_of("guard"), "who shares it asks the old one"
    name = old["metadata"]["name"]
    world.children[ObjectKey("Deployment", name)]["status"]["readyReplicas"] = 0
    world.settle()
    assert not world.status.get("guards")[0].get("ready"), "while another comes up, too"


def test_back_at_the_old_version_the_status_names_its_guard_again():
    world = make(OWN)
    world.edit(rollout={"strategy": "BlueGreen"})
    world.settle()
    world.succeed("fetch-content-safety", output="guard")
    world.settle()
    serve(world, "model", "guardrails", ROLE)
    world.succeed("prove", proof=GOOD)
    world.settle()
    (old,) = world.status["guards"]
    world.edit(guardrails={"contentSafety": {"model": OWN | {"source": SOURCE | {"uri": "hf://nvidia/2"}}}})
    world.settle()
    world.succeed("fetch-content-safety", output="guard2")
    world.settle()
    prove_new(world)
    assert world.status["guards"][0]["digest"] != old["digest"]
    world.wait(31)
    world.settle()
    world.succeed("prove", proof=GOOD.model_copy(update={"unsafe_blocked": 0}))
    world.settle()
    world.wait(31)
    world.settle()
    assert world.condition("Promoted")["reason"] == "RolloutFailed"
    assert world.status["guards"] == [old], "whoever shares it would ask one that is gone"
