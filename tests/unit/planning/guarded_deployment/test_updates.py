"""Updates of a GuardedDeployment that come up, that do not, and that find no room."""

import json
from typing import Any

import pytest
from tests.unit.planning.examples import finished_eval, finished_finetune, make_guarded
from tests.unit.planning.guarded_deployment.guarded import (
    GOOD,
    deployment,
    make_open,
    make_serving,
    serve_all,
)
from tests.unit.planning.world import World, digest_of

from safety_operator.state.keys import ObjectKey
from safety_records.result import ChatTemplateKind

PULL = (None, "ImagePullBackOff", 'Back-off pulling image "registry.example.com/typo:1"')
CRASH = (2, "Error", "error: unrecognized arguments: --max-modle-len")
NO_GPU = (None, "Unschedulable", "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
CLASSIFIER = {"contentSafety": {"model": {"classifier": "prompt-harm-minilm"}}}


def make_updated(**spec: Any) -> World:
    """A served model, and an update of the model server that was told to the cluster."""
    world = make_serving()
    changed = spec or {"serving": {"args": ["--max-modle-len", "4096"]}}
    world.refer("SafetyEval", "hardened", finished_eval() | {"spec": changed})  # evaluated as it is served
    world.edit(**changed)
    world.settle()
    return world


def truths(world: World) -> dict[str, str]:
    return {
        kind: world.condition(kind)["status"] for kind in ("Ready", "Reconciling", "Stalled", "Available")
    }


def test_an_update_that_cannot_pull_its_image_says_pod_container_and_words_and_stalls_at_once():
    world = make_updated(guardrails=CLASSIFIER | {"image": "registry.example.com/typo:1"})
    world.roll("guardrails", failure=PULL)
    world.settle()
    assert truths(world) == {
        "Ready": "False",
        "Reconciling": "False",
        "Stalled": "True",
        "Available": "True",
    }
    message = world.condition("Stalled")["message"]
    for part in (
        "The guardrails: pod assistant-guardrails-",
        "container server",
        "ImagePullBackOff",
        "typo:1",
    ):
        assert part in message
    assert "The version before serves on." in message
    assert "the update is not in service yet" in world.condition("Available")["message"]


def test_an_update_that_crashes_is_told_at_once_and_stalls_when_its_time_is_up():
    world = make_updated()
    world.roll("model", failure=CRASH)
    world.settle()
    ready = world.condition("Ready")
    assert ready["status"] == "Unknown"
    assert "exit code 2: error: unrecognized arguments: --max-modle-len" in ready["message"]
    assert truths(world)["Stalled"] == "False"
    world.roll("model", failure=CRASH, hung=True)
    world.settle()
    assert truths(world) == {
        "Ready": "False",
        "Reconciling": "False",
        "Stalled": "True",
        "Available": "True",
    }
    assert "--max-modle-len" in world.condition("Stalled")["message"]


def test_an_update_that_hangs_without_a_word_stalls_when_its_time_is_up():
    world = make_updated()
    world.roll("model", hung=True)
    world.settle()
    assert "did not become ready in time" in world.condition("Stalled")["message"]
    assert truths(world)["Available"] == "True"


def test_the_deadline_of_an_earlier_update_does_not_count_for_the_one_that_fixes_it():
    world = make_updated()
    world.roll("model", failure=CRASH, hung=True)
    world.settle()
    world.refer("SafetyEval", "hardened", finished_eval())
    world.edit(serving={"args": ["--max-num-seqs", "8"]})
    world.failures.clear()
    world.settle()
    assert truths(world)["Stalled"] == "False"
    assert world.condition("ModelReady")["message"] == "Waiting for the model server (0/1 new pods)."


@pytest.mark.parametrize("failure", [PULL, CRASH, NO_GPU], ids=["pull", "crash", "no GPU"])
def test_the_version_before_is_proved_while_the_update_does_not_come_up(failure):
    world = make_serving()
    world.refer("SafetyFinetune", "hardened", finished_finetune("newer"))
    world.refer("SafetyEval", "hardened", finished_eval("newer"))
    world.settle()
    world.roll("model", failure=failure, hung=True)
    world.settle()
    assert world.status["served"]["modelDigest"] == digest_of("product")
    assert world.status["served"]["wantedModelDigest"] == digest_of("newer")
    assert digest_of("product") in world.condition("Available")["message"]
    assert world.condition("RailsProven")["status"] == "True"
    world.wait(301)
    world.settle()
    world.succeed("prove", proof=GOOD.model_copy(update={"unsafe_blocked": 2}))
    world.settle()
    assert world.condition("RailsProven")["status"] == "False"


def test_an_update_that_comes_up_is_proved_anew():
    world = make_updated(serving={"args": ["--seed", "7"]})
    world.refer("SafetyFinetune", "hardened", finished_finetune("newer"))
    world.refer("SafetyEval", "hardened", finished_eval("newer"))
    world.settle()
    world.roll("model")
    world.settle()
    assert world.names("Job") == [world.stage("prove")["job"]]
    serve_all(world)
    assert world.condition("RailsProven")["status"] == "Unknown"
    assert world.status["served"]["modelDigest"] == digest_of("newer")
    world.succeed("prove", proof=GOOD)
    world.settle()
    assert truths(world)["Ready"] == "True"


def test_some_of_several_new_pods_are_not_enough_to_be_ready_and_the_failing_one_speaks():
    world = make_serving(serving={"replicas": 3})
    world.edit(serving={"replicas": 3, "args": ["--seed", "7"]})
    world.settle()
    world.roll("model", old=1, new=3, ready=3, failure=NO_GPU)
    world.settle()
    assert "Insufficient nvidia.com/gpu" in world.condition("ModelReady")["message"]
    world.roll("model", old=0, new=3, ready=2)
    world.settle()
    assert world.condition("ModelReady")["status"] == "Unknown"
    assert world.status["served"]["modelDigest"] == digest_of("product")


def test_nothing_is_available_when_old_and_new_pods_are_down():
    world = make_updated()
    world.roll("model", ready=0, failure=CRASH)
    world.settle()
    there = world.condition("Available")
    assert (there["status"], there["message"]) == ("False", "No pod is ready of: the model server.")


def test_a_first_deployment_is_not_available_before_all_its_parts_answer():
    world = make_open()
    world.settle()
    world.roll("model", old=0, new=1, ready=0, failure=CRASH)
    world.settle()
    assert truths(world)["Available"] == "Unknown"
    assert "The version before" not in world.condition("Ready")["message"]


STRATEGIES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"maxUnavailable": 0, "maxSurge": 1}),
    ({"device": "gpu"}, {"maxUnavailable": 0, "maxSurge": 1}),
    ({"device": "cpu", "replicas": 3}, {"maxUnavailable": 0, "maxSurge": 1}),
    ({"device": "gpu", "replicas": 3}, {"maxUnavailable": 1, "maxSurge": 0}),
    (
        {"device": "gpu", "replicas": 3, "updateStrategy": {"type": "RollingUpdate"}},
        {"maxUnavailable": 0, "maxSurge": 1},
    ),
    (
        {"updateStrategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 2}}},
        {"maxUnavailable": 2, "maxSurge": 0},
    ),
    ({"device": "gpu", "updateStrategy": {"type": "Recreate"}}, {}),
]


@pytest.mark.parametrize(("serving", "rolling"), STRATEGIES)
def test_how_an_update_replaces_the_models_pods(serving, rolling):
    world = make_open(serving=serving)
    world.settle()
    wanted = {"type": "RollingUpdate", "rollingUpdate": rolling} if rolling else {"type": "Recreate"}
    assert deployment(world, "model")["spec"]["strategy"] == wanted
    for role in ("guardrails", "classifier"):
        assert deployment(world, role)["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_an_update_without_a_free_gpu_names_it_and_says_how_the_old_pod_goes_first():
    world = make_updated(serving={"device": "gpu", "maxModelLen": 4096})
    world.roll("model", failure=NO_GPU)
    world.settle()
    message = world.condition("Ready")["message"]
    assert "Insufficient nvidia.com/gpu" in message
    assert "spec.serving.updateStrategy" in message
    assert "Recreate" in message
    assert truths(world)["Available"] == "True"


def test_while_the_old_pod_goes_first_the_status_says_so_and_nothing_counts_as_served():
    recreate = {"device": "gpu", "updateStrategy": {"type": "Recreate"}}
    world = make_serving(serving=recreate)
    world.edit(serving=recreate | {"maxModelLen": 4096})
    world.settle()
    world.roll("model", old=1, new=0, ready=0)
    world.settle()
    words = "Waiting for the old pods of the model server to end: they go first (1 left)."
    assert world.condition("ModelReady")["message"] == words
    world.roll("model", old=0, new=1, ready=0)
    world.settle()
    assert truths(world)["Available"] == "False"
    serve_all(world)
    assert truths(world)["Available"] == "True"


@pytest.mark.parametrize(("parser", "opens"), [(None, True), ("deepseek_r1", False)])
def test_the_gateway_knows_whether_answers_begin_within_reasoning(parser: str | None, opens: bool):
    """Where the server's parser takes reasoning out, nothing of it is left in the text."""
    serving = {"reasoningParser": parser} if parser else {}
    world = make_guarded(model={"source": {"uri": "hf://a/b"}}, gate={"none": True}, serving=serving)
    world.settle()
    world.succeed("fetch", chat_template=ChatTemplateKind(opens="<think>"))
    world.settle()
    assert settings_of(world)["model"]["opensReasoning"] is opens
    world.edit(model={"source": {"uri": "hf://a/c"}})
    world.settle()
    assert settings_of(world)["model"]["opensReasoning"] is opens, "the old one is served meanwhile"
    world.succeed("fetch")
    world.settle()
    assert settings_of(world)["model"]["opensReasoning"] is False


def settings_of(world: World) -> dict[str, Any]:
    """The settings of the configuration that the newest guardrails read."""
    (volume,) = (
        volume
        for volume in deployment(world, "guardrails")["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "config"
    )
    name = volume["configMap"]["name"]
    found: dict[str, Any] = json.loads(world.children[ObjectKey("ConfigMap", name)]["data"]["gateway.json"])
    return found


def test_a_guard_that_is_replaced_stays_in_reach_until_no_pod_asks_it_any_more():
    guard = {"url": "https://guard.example.com/v1", "model": "guard"}
    world = make_open(guardrails={"contentSafety": {"model": {"endpoint": guard}}})
    world.settle()
    for role in ("model", "guardrails"):
        world.serve(role)
    world.settle()
    world.edit(guardrails=CLASSIFIER)
    world.settle()
    key = ObjectKey("NetworkPolicy", "assistant-guardeddeployment-guardrails")
    assert {} in world.children[key]["spec"]["egress"], "pods of the version before ask it"
    for role in ("classifier", "guardrails"):
        world.serve(role)
    world.settle()
    assert {} not in world.children[key]["spec"]["egress"]
