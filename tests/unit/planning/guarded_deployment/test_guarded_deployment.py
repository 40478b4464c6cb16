"""The life of a GuardedDeployment."""

import json

import pytest
import yaml
from tests.unit.planning.examples import finished_eval, finished_finetune, make_guarded
from tests.unit.planning.guarded_deployment.guarded import (
    GOOD,
    configurations,
    container,
    deployment,
    make_open,
    make_serving,
    serve_all,
)
from tests.unit.planning.world import digest_of

from safety_operator.children.guardrails_rails import GUARD_KEY_ENV
from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import LABEL_ROLE


def test_nothing_is_served_before_finetune_and_evaluation_are_there():
    world = make_guarded()
    world.settle()
    assert world.children == {}
    assert world.status["state"] == "Waiting"
    world.refer("SafetyFinetune", "hardened", finished_finetune())
    world.settle()
    assert world.children == {}
    assert world.condition("GatePassed")["message"] == "Waiting for SafetyEval hardened to be created."


def test_everything_starts_at_once_when_the_gate_opens_and_the_proof_only_when_all_is_ready():
    world = make_open()
    world.settle()
    roles = sorted(
        child["metadata"]["labels"][LABEL_ROLE]
        for key, child in world.children.items()
        if key.kind == "Deployment"
    )
    assert roles == ["classifier", "guardrails", "model"]
    assert world.names("Job") == []
    world.serve("model")
    world.settle()
    assert world.condition("ModelReady")["status"] == "True"
    assert world.condition("GuardrailsReady")["status"] == "Unknown"
    assert world.names("Job") == []
    serve_all(world)
    assert len(world.names("Job")) == 1
    assert world.condition("Ready")["status"] == "Unknown"


def test_what_was_in_service_before_a_suspension_is_not_available_while_it_comes_back():
    world = make_serving()
    for suspend in (True, False):
        world.edit(suspend=suspend)
        world.settle()
    world.serve("model")
    world.settle()
    found = world.condition("Available")
    assert (found["status"], found["reason"]) == ("False", "NotReady")
    assert "No pod is ready of: the guardrails" in found["message"]


@pytest.mark.parametrize("first", ["model", "classifier", "guardrails"])
def test_a_first_start_is_no_warning_whatever_is_ready_first(first: str):
    world = make_open()
    world.settle()
    world.serve(first)
    world.settle()
    assert world.condition("Available")["status"] == "Unknown"
    serve_all(world)
    world.succeed("prove", proof=GOOD)
    world.settle()
    assert world.condition("Available")["status"] == "True"
    assert [event for event in world.events if event.type == "Warning"] == []


def test_it_serves_when_the_proof_is_good():
    world = make_serving()
    for type_ in ("Ready", "GatePassed", "ModelReady", "GuardrailsReady", "BypassClosed", "RailsProven"):
        assert world.condition(type_)["status"] == "True", type_
    assert world.status["state"] == "Serving"
    assert world.status["endpoint"].endswith(".team.svc:8000/v1")
    assert world.status["proof"]["unsafeBlocked"] == "3/3"
    assert (
        world.status["served"]["modelDigest"]
        == world.status["served"]["wantedModelDigest"]
        == digest_of("product")
    )
    made = world.settle()
    assert made.requeue_after == 300
    assert made.events == ()


def test_the_proof_comes_again_and_only_the_last_job_is_kept():
    world = make_serving()
    (first,) = world.names("Job")
    world.wait(299)
    world.settle()
    assert world.names("Job") == [first]
    world.wait(2)
    world.settle()
    assert len(world.names("Job")) == 2
    assert world.condition("Ready")["status"] == "True"
    world.succeed("prove", proof=GOOD)
    world.settle()
    assert len(world.names("Job")) == 1
    assert first not in world.names("Job")


def test_an_open_direct_endpoint_and_a_rail_that_lets_through_make_it_not_ready():
    world = make_serving()
    world.wait(301)
    world.settle()
    bad = GOOD.model_copy(
        update={"bypass_closed": False, "bypass_detail": "200 in 3 ms", "unsafe_blocked": 2}
    )
    world.succeed("prove", proof=bad)
    world.settle()
    assert world.condition("BypassClosed")["status"] == "False"
    assert "200 in 3 ms" in world.condition("BypassClosed")["message"]
    assert world.condition("RailsProven")["status"] == "False"
    assert world.condition("Ready")["status"] == "False"
    assert world.status["proof"]["bypass"] == "Open"


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({"benign_answered": 0, "benign_silent": 3}, "Unknown"),
        ({"unsafe_blocked": 1, "unsafe_silent": 2}, "Unknown"),
        ({"unsafe_blocked": 1, "unsafe_silent": 1}, "False"),
        ({"benign_answered": 0, "benign_silent": 1}, "False"),
        ({"benign_answered": 3, "unsafe_blocked": 3}, "True"),
    ],
)
def test_answers_without_text_prove_rails_neither_way(counts: dict[str, int], status: str):
    world = make_serving()
    world.wait(301)
    world.settle()
    why = "3 of 6 answers hold no text (3 with reasoning only): raise maxTokens"
    world.succeed("prove", proof=GOOD.model_copy(update=counts | {"silence": why}))
    world.settle()
    condition = world.condition("RailsProven")
    assert condition["status"] == status
    assert (why in condition["message"]) == (status == "Unknown")


def test_a_new_refusal_rolls_the_rails_with_a_configuration_of_their_own_and_is_proved_again():
    world = make_serving()
    (old,) = configurations(world)
    world.edit(
        guardrails={"contentSafety": {"model": {"classifier": "prompt-harm-minilm"}}, "refusal": "No."}
    )
    world.settle()
    assert len(configurations(world)) == 2
    assert world.condition("GuardrailsReady")["status"] == "Unknown"
    assert deployment(world, "guardrails")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    serve_all(world)
    assert old not in configurations(world)
    assert world.condition("RailsProven")["status"] == "Unknown"
    world.succeed("prove", proof=GOOD)
    world.settle()
    assert world.condition("Ready")["status"] == "True"


def test_the_old_model_stays_in_service_until_the_new_one_has_passed():
    world = make_serving()
    world.refer("SafetyFinetune", "hardened", finished_finetune("newer"))
    world.settle()
    assert world.condition("GatePassed")["status"] == "False"
    assert deployment(world, "model")["spec"]["replicas"] == 1
    assert world.status["served"]["modelDigest"] == digest_of("product")
    assert world.status["served"]["wantedModelDigest"] == digest_of("newer")
    world.refer("SafetyEval", "hardened", finished_eval("newer"))
    world.settle()
    assert world.condition("ModelReady")["status"] == "Unknown"
    serve_all(world)
    world.succeed("prove", proof=GOOD)
    world.settle()
    assert world.status["served"]["modelDigest"] == digest_of("newer")


def test_a_regression_keeps_or_scales_down_as_the_spec_says():
    for policy, replicas in (("keep", 1), ("scaleDown", 0)):
        gate = {"evalRefs": [{"name": "hardened"}], "onRegression": policy}
        world = make_serving(gate=gate)
        world.refer("SafetyEval", "hardened", finished_eval(passed=False))
        world.settle()
        assert deployment(world, "model")["spec"]["replicas"] == replicas
        assert world.condition("Ready")["status"] == "False"
        world.refer("SafetyEval", "hardened", finished_eval())
        world.settle()
        assert deployment(world, "model")["spec"]["replicas"] == 1


def test_the_key_is_drawn_when_the_secret_is_made_and_both_sides_read_it():
    world = make_open()
    made = world.plan()
    secrets = [child for child in made.apply if child.manifest["kind"] == "Secret"]
    roles = [child.manifest["metadata"]["labels"][LABEL_ROLE] for child in secrets]
    assert roles == ["api-key", "caller-key"]
    for secret in secrets:
        assert secret.create_only
        assert secret.secret_key == "api-key"
        assert "data" not in secret.manifest
    secret = secrets[0]
    world.settle()
    name = secret.manifest["metadata"]["name"]
    wanted = {"secretKeyRef": {"name": name, "key": "api-key"}}
    model = {item["name"]: item for item in container(world, "model")["env"]}
    rails = {item["name"]: item for item in container(world, "guardrails")["env"]}
    assert model["VLLM_API_KEY"]["valueFrom"] == rails["MAIN_MODEL_API_KEY"]["valueFrom"] == wanted


def test_a_key_that_was_deleted_is_drawn_anew_and_replaces_all_pods_that_read_it():
    world = make_serving()
    names = world.names("Secret")
    (name,) = [name for name in names if "-api-key-" in name]
    before = {role: deployment(world, role)["metadata"]["generation"] for role in ("model", "guardrails")}
    del world.children[ObjectKey("Secret", name)]
    world.settle()
    assert world.names("Secret") == names
    for role, generation in before.items():
        assert deployment(world, role)["metadata"]["generation"] == generation + 1
    assert world.condition("ModelReady")["status"] == "Unknown"


def test_the_servers_are_made_once_and_only_when_the_key_is_there():
    world = make_open()
    world.carry_out(world.plan())
    assert [name.split("-")[1] for name in world.names("Deployment")] == ["classifier"]
    world.settle()
    assert deployment(world, "model")["metadata"]["generation"] == 1


def test_only_the_rails_reach_the_model_and_the_model_reaches_nobody():
    world = make_open()
    world.settle()
    policies = {
        child["metadata"]["labels"][LABEL_ROLE]: child["spec"]
        for key, child in world.children.items()
        if key.kind == "NetworkPolicy"
    }
    for role in ("model", "classifier"):
        (rule,) = policies[role]["ingress"]
        (peer,) = rule["from"]
        assert peer["podSelector"]["matchLabels"][LABEL_ROLE] == "guardrails"
        assert policies[role]["egress"] == []
        assert policies[role]["policyTypes"] == ["Ingress", "Egress"]


def test_the_rails_configuration_names_model_guard_and_flows():
    world = make_open()
    world.settle()
    (name,) = configurations(world)
    data = world.children[ObjectKey("ConfigMap", name)]["data"]
    assert "content safety check input $model=content_safety" in data["config.yml"]
    assert "content safety check output $model=content_safety" in data["config.yml"]
    assert "MAIN_MODEL_API_KEY" in data["gateway.json"]
    assert "I'm sorry, I can't help with that." in data["gateway.json"]
    paths = {
        item["path"]
        for volume in deployment(world, "guardrails")["spec"]["template"]["spec"]["volumes"]
        for item in volume.get("configMap", {}).get("items", [])
    }
    assert paths == {"gateway.json", "rails/config.yml", "rails/prompts.yml"}


@pytest.mark.parametrize("served_name", [None, "org/chat-1"])
def test_service_and_model_are_called_as_the_resource_is_or_as_the_spec_says(served_name: str | None):
    world = make_open(serving={"servedName": served_name} if served_name else {})
    world.settle()
    services = {
        child["metadata"]["labels"][LABEL_ROLE]: key.name
        for key, child in world.children.items()
        if key.kind == "Service"
    }
    assert services["guardrails"] == "assistant"
    assert services["model"].startswith("assistant-model-")
    (name,) = configurations(world)
    settings = json.loads(world.children[ObjectKey("ConfigMap", name)]["data"]["gateway.json"])
    assert settings["servedName"] == (served_name or "assistant")
    assert settings["model"]["name"] == "model"


def test_a_guard_endpoint_replaces_the_classifier_and_its_missing_key_stalls():
    endpoint = {
        "url": "http://guard.ai.svc:8000/v1",
        "model": "nemoguard",
        "apiKeySecretRef": {"name": "g", "key": "k"},
    }
    world = make_open(guardrails={"contentSafety": {"model": {"endpoint": endpoint}}})
    world.settle()
    assert world.condition("Stalled")["reason"] == "SecretMissing"
    assert world.children == {}
    world.secrets["g"] = "1"
    world.settle()
    assert len(world.names("Deployment")) == 2
    key = {"name": GUARD_KEY_ENV, "valueFrom": {"secretKeyRef": {"name": "g", "key": "k"}}}
    assert key in container(world, "guardrails")["env"]
    (name,) = configurations(world)
    data = world.children[ObjectKey("ConfigMap", name)]["data"]
    (guard,) = yaml.safe_load(data["config.yml"])["models"]
    assert (guard["model"], guard["parameters"]["base_url"]) == ("nemoguard", "http://guard.ai.svc:8000/v1")
    assert "<BEGIN UNSAFE CONTENT CATEGORIES>" in data["prompts.yml"]
    policy = world.children[ObjectKey("NetworkPolicy", "assistant-guardeddeployment-guardrails")]
    assert policy["spec"]["egress"] == [{}], "the guard may be anywhere"
    assert ObjectKey("NetworkPolicy", "assistant-guardeddeployment-classifier") not in world.children


def test_a_model_server_that_never_comes_up_says_why_and_stalls():
    world = make_open()
    world.settle()
    world.crash("model", "ValueError: no such architecture", hung=True)
    world.settle()
    for type_ in ("Ready", "ModelReady"):
        found = world.condition(type_)
        assert (found["status"], found["reason"]) == ("False", "NotReady")
        assert "container server: Error with exit code 1: ValueError: no such arch" in found["message"]
    assert world.condition("Stalled")["status"] == "True"
    assert world.condition("Available")["status"] == "Unknown"


def test_suspend_takes_the_pods_away_and_keeps_key_and_endpoint():
    world = make_serving()
    world.edit(suspend=True)
    world.settle()
    assert world.names("Deployment") == world.names("Job") == []
    assert world.names("Secret") != []
    assert world.names("Service") != []
    assert world.status["state"] == "Suspended"
    world.edit(suspend=False)
    world.settle()
    assert len(world.names("Deployment")) == 3


def test_no_gate_has_to_be_declared():
    world = make_open(gate={"none": True})
    world.settle()
    assert world.condition("GatePassed")["reason"] == "GateWaived"
    assert len(world.names("Deployment")) == 3


def test_a_refusal_that_the_rails_would_misread_is_refused():
    world = make_open(
        guardrails={"contentSafety": {"model": {"classifier": "prompt-harm-minilm"}}, "refusal": 'No "$x".'}
    )
    world.settle()
    assert "spec.guardrails.refusal" in world.condition("Stalled")["message"]


def test_a_model_from_a_source_is_fetched_first():
    world = make_open(model={"source": {"uri": "hf://org/model"}}, gate={"none": True})
    world.settle()
    assert world.stage("fetch")["state"] == "Running"
    assert world.names("Deployment") == []
    world.succeed("fetch", output="product")
    world.settle()
    assert len(world.names("Deployment")) == 3


@pytest.mark.parametrize("image", [{}, {"image": "worker:1"}, {"image": "vllm/vllm-openai:v0.32.0"}])
def test_paths_that_the_key_leaves_open_are_closed_with_any_image(image: dict[str, str]):
    world = make_open(serving=image)
    world.refer("SafetyEval", "hardened", finished_eval() | {"spec": {"serving": image}})
    world.settle()
    server, template = container(world, "model"), deployment(world, "model")["spec"]["template"]["spec"]
    args = server["args"]
    assert args[args.index("--middleware") + 1] == "safety_pod.closed_paths.ClosedPaths"
    assert server["command"] == [
        "python3",
        "/model-safety/safety_pod/serve.py",
        "vllm.entrypoints.openai.api_server",
    ]
    (volume,) = (volume for volume in template["volumes"] if volume["name"] == "server-files")
    mounted = {item["key"]: item["path"] for item in volume["configMap"]["items"]}
    files = world.children[ObjectKey("ConfigMap", volume["configMap"]["name"])]["data"]
    assert {mounted[name] for name in files} >= {"safety_pod/closed_paths.py", "safety_pod/serve.py"}
    assert "class ClosedPaths" in files["closed_paths.py"]


def test_rails_that_block_everything_prove_nothing():
    world = make_open()
    world.settle()
    serve_all(world)
    world.succeed("prove", proof=GOOD.model_copy(update={"benign_answered": 2}))
    world.settle()
    assert world.condition("RailsProven")["status"] == "True"
    assert "2/3 benign prompts answered" in world.condition("RailsProven")["message"]
    world = make_open(proof={"minBenign": "1"})
    world.settle()
    serve_all(world)
    world.succeed("prove", proof=GOOD.model_copy(update={"benign_answered": 2}))
    world.settle()
    assert world.condition("RailsProven")["status"] == "False"


def test_a_fetch_that_finds_no_node_is_waited_for_with_its_words():
    world = make_open(model={"source": {"uri": "hf://org/model"}}, gate={"none": True})
    world.settle()
    world.cannot_start("fetch", "Unschedulable", "0/1 nodes are available")
    world.settle()
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "PodCannotStart")
    assert "0/1 nodes are available" in ready["message"]
    assert world.condition("Reconciling")["status"] == "True"


def test_a_bypass_probe_that_failed_leaves_the_bypass_unknown():
    world = make_open()
    world.settle()
    serve_all(world)
    unknown = GOOD.model_copy(update={"bypass_closed": None, "bypass_detail": "no address"})
    world.succeed("prove", proof=unknown)
    world.settle()
    found = world.condition("BypassClosed")
    assert (found["status"], found["reason"]) == ("Unknown", "ProofFailed")
    assert found["message"] == "The bypass probe failed: no address"
    assert world.condition("Ready")["status"] == "Unknown"
    assert world.status["proof"]["bypass"] == "Unknown"
