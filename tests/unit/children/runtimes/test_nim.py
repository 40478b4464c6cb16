"""NIM as the engine: what its pods are told, tried on a stand-in that speaks what is documented of it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from tests.unit.planning.examples import finished_eval
from tests.unit.planning.guarded_deployment.test_guarded_deployment import (
    container,
    deployment,
    make_open,
    serve_all,
)
from tests.unit.planning.world import World, digest_of

from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import LABEL_ROLE
from safety_records.in_place import in_place_path
from safety_records.stages import ProbeStage
from safety_worker.guarding.bypass_probe import Way, probe_outside, probe_pods

STAND_IN = Path(__file__).with_name("nim_stand_in.py")
NIM = {"runtime": "nim", "image": "nim:2", "device": "gpu"}


def make_nim(**serving: Any) -> World:
    """A GuardedDeployment on a NIM, evaluated on one."""
    spec = NIM | serving
    world = make_open(serving=spec)
    world.refer("SafetyEval", "hardened", finished_eval() | {"spec": {"serving": spec}})
    return world


def environment(world: World) -> dict[str, str]:
    """The model container's variables, as far as they are plain."""
    return {item["name"]: item["value"] for item in container(world, "model")["env"] if "value" in item}


@contextmanager
def stand_in(line: str, env: dict[str, str], folder: Path) -> Iterator[str]:
    """The stand-in with exactly a pod's variables, but for its folders and its port; gives its address."""
    model = folder / env["NIM_MODEL_PATH"].lstrip("/")
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    local = {
        name: value.replace("/artifacts", str(folder / "artifacts"), 1) for name, value in env.items()
    } | {"NIM_SERVER_PORT": "0"}
    process = subprocess.Popen(
        [sys.executable, str(STAND_IN), line], env=local, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().split()[-1]}"
    finally:
        process.terminate()
        process.communicate()


def ask(url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url, data=data), timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        error.close()
        return error.code, None


@pytest.mark.parametrize("line", ["1", "2"])
def test_a_nim_of_either_line_starts_with_the_pods_variables_and_answers_by_name(line, tmp_path):
    world = make_nim(maxModelLen=4096, nim={"profile": "vllm-bf16-tp1"})
    world.settle()
    probes = container(world, "model")
    ready, live = (probes[name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe"))
    with stand_in(line, environment(world), tmp_path) as url:
        assert ask(url + live)[0] == 200
        assert ask(url + ready)[0] == 503
        ask(url + "/v1/load", {})
        assert ask(url + ready)[0] == 200
        messages = [{"role": "user", "content": "Hello?"}]
        assert ask(f"{url}/v1/chat/completions", {"model": "model", "messages": messages})[0] == 200
        _, told = ask(url + "/v1/metadata")
        assert told["NIM_MODEL_PROFILE"] == "vllm-bf16-tp1"
        assert told["NIM_MAX_MODEL_LEN"] == "4096"
        assert "NGC_API_KEY" not in told


def test_the_image_starts_by_itself_and_writes_to_its_cache():
    world = make_nim()
    world.settle()
    found = container(world, "model")
    assert found["image"] == "nim:2"
    assert "command" not in found
    assert found["args"] == []
    assert found["ports"] == [{"name": "http", "containerPort": 8000, "protocol": "TCP"}]
    assert found["securityContext"]["readOnlyRootFilesystem"] is False
    assert found["securityContext"]["runAsNonRoot"] is True
    mounts = {item["mountPath"]: item for item in found["volumeMounts"]}
    assert mounts["/artifacts"]["readOnly"] is True
    assert "readOnly" not in mounts["/opt/nim/.cache"]
    assert found["lifecycle"]["preStop"]["exec"]["command"][3] == "/v1/metrics"


def test_parsers_and_arguments_reach_both_lines():
    world = make_nim(
        toolCallParser="hermes", reasoningParser="qwen3", args=["--max-num-seqs", "8"], tensorParallelSize=2
    )
    world.settle()
    env = environment(world)
    assert env["NIM_PASSTHROUGH_ARGS"] == (
        "--tensor-parallel-size 2 --reasoning-parser qwen3 --enable-auto-tool-choice "
        "--tool-call-parser hermes --max-num-seqs 8"
    )
    assert (env["NIM_ENABLE_AUTO_TOOL_CHOICE"], env["NIM_TOOL_CALL_PARSER"]) == ("1", "hermes")
    assert container(world, "model")["resources"]["limits"]["nvidia.com/gpu"] == 2


def test_without_a_key_for_ngc_nothing_goes_out_and_with_one_https_only():
    world = make_nim()
    world.settle()
    policy = ObjectKey("NetworkPolicy", "assistant-guardeddeployment-model")
    assert world.children[policy]["spec"]["egress"] == []
    world = make_nim(nim={"ngcApiKeySecretRef": {"name": "ngc", "key": "token"}})
    world.secrets = {"ngc": "1"}
    world.settle()
    ports = [port["port"] for rule in world.children[policy]["spec"]["egress"] for port in rule["ports"]]
    assert sorted(ports) == [53, 53, 443]
    (key,) = (item for item in container(world, "model")["env"] if item["name"] == "NGC_API_KEY")
    assert key["valueFrom"]["secretKeyRef"] == {"name": "ngc", "key": "token"}


def test_a_missing_secret_or_claim_is_told_before_anything_is_served():
    world = make_nim(nim={"ngcApiKeySecretRef": {"name": "ngc", "key": "token"}})
    world.settle()
    found = world.condition("Ready")
    assert found["reason"] == "SecretMissing"
    assert "spec.serving.nim.ngcApiKeySecretRef: the Secret ngc does not exist" in found["message"]
    world = make_nim(nim={"cacheClaimName": "nim-cache"})
    world.settle()
    assert world.condition("Ready")["reason"] == "ClaimMissing"
    assert world.children == {}


def test_a_cache_of_ones_own_is_mounted():
    world = make_nim(nim={"cacheClaimName": "nim-cache"})
    world.claims["nim-cache"] = {}
    world.settle()
    volumes = deployment(world, "model")["spec"]["template"]["spec"]["volumes"]
    (cache,) = (volume for volume in volumes if volume["name"] == "nim-cache")
    assert cache["persistentVolumeClaim"] == {"claimName": "nim-cache"}


@pytest.mark.parametrize(
    ("evaluated", "words"),
    [
        ({}, "runtime (evaluated: not set, to be served: nim)"),
        (NIM | {"nim": {"profile": "other"}}, "nim.profile (evaluated: other, to be served: one)"),
        (
            NIM | {"image": "nim:1", "nim": {"profile": "one"}},
            "image (evaluated: nim:1, to be served: nim:2)",
        ),
    ],
)
def test_what_another_engine_image_or_profile_answered_opens_no_gate(evaluated, words):
    world = make_nim(nim={"profile": "one"})
    world.refer("SafetyEval", "hardened", finished_eval() | {"spec": {"serving": evaluated}})
    world.settle()
    gate = world.condition("GatePassed")
    assert gate["status"] == "False"
    assert words in gate["message"]


def test_where_the_key_and_the_cache_are_changes_no_answer():
    world = make_nim()
    spec = NIM | {"nim": {"cacheClaimName": "other"}}
    world.refer("SafetyEval", "hardened", finished_eval() | {"spec": {"serving": spec}})
    world.settle()
    assert world.condition("GatePassed")["status"] == "True"


def test_a_nim_asks_clients_for_no_key_so_the_proof_decides_whether_others_reach_it():
    world = make_nim()
    world.settle()
    assert [item for item in container(world, "model")["env"] if "valueFrom" in item] == []
    serve_all(world)
    assert '"direct"' in world.specification("prove")


def test_the_condition_says_what_keeps_others_from_a_nim():
    world = make_nim()
    world.settle()
    serve_all(world)
    assert "NetworkPolicies alone" in world.condition("ModelReady")["message"]
    policy = world.children[ObjectKey("NetworkPolicy", "assistant-guardeddeployment-model")]["spec"]
    (rule,) = policy["ingress"]
    assert [peer["podSelector"]["matchLabels"][LABEL_ROLE] for peer in rule["from"]] == ["guardrails"]


async def test_the_bypass_probe_finds_a_nim_that_others_reach(tmp_path):
    world = make_nim()
    world.settle()
    with stand_in("2", environment(world), tmp_path) as url:
        ask(url + "/v1/load", {})
        direct = {"base_url": f"{url}/v1", "model": "model"}
        spec = ProbeStage(
            namespace="a", kind="GuardedDeployment", name="b", inputs_hash="h", root="file:///tmp", out="o",
            guarded_url=url, direct=direct, pods_url=f"{url}/v1", from_namespace="other",
        )  # fmt: skip
        assert await probe_outside(spec) == (False, "/v1/chat/completions answered without a key")
        assert any(probe.way is Way.OPEN for probe in await probe_pods(spec))
    assert (await probe_outside(spec))[0] is None, "nobody reaches anything"


def test_a_model_that_stays_where_it_was_is_looked_at_before_a_nim_loads_it():
    world = make_open(model={"source": {"uri": "pvc://models/llama"}}, gate={"none": True}, serving=NIM)
    world.claims["models"] = {}
    world.settle()
    path = in_place_path("team/models", "pvc://models/llama", digest_of("llama"))
    world.succeed("fetch", output="llama", path=path)
    world.settle()
    containers = deployment(world, "model")["spec"]["template"]["spec"].get("initContainers", [])
    (check,) = (item for item in containers if item["name"] == "check-model")
    assert check["command"][-1] == "safety_pod.checked"
    assert "SAFETY_SERVER_IN_PLACE" in [item["name"] for item in check["env"]]
