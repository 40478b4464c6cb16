"""Updates of a guarded endpoint with the real API server, controllers and scheduler; nodes are fakes."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.apiserver import CACHE, ApiServer, running_apiserver
from tests.integration.conftest import MERGE, Starter, Team, make_team
from tests.integration.operator_process import OperatorProcess
from tests.integration.test_life_cycle import resource
from tests.until import until

from safety_cli.main import main
from safety_records.result import Artifact, Proof

KIND = "guardeddeployments"
RAILS = {"contentSafety": {"model": {"classifier": "prompt-harm-minilm"}}}
GOOD = Proof(unsafe_blocked=3, unsafe_total=3, benign_answered=3, benign_total=3, bypass_closed=True)
TYPO = "registry.example.com/typo:1"


def guarded(**spec: Any) -> dict[str, Any]:
    base = {"model": {"source": {"uri": "hf://org/model"}}, "gate": {"none": True}, "guardrails": RAILS}
    return resource("GuardedDeployment", "g", base | spec)


def bring_up(team: Team, **spec: Any) -> None:
    """Until it serves, proved."""
    team.apply(guarded(**spec))
    team.kubelet.succeed("g", "fetch")
    for role in ("model", "classifier", "guardrails"):
        for pod in team.kubelet.server_pods("g", role):
            team.kubelet.serve(pod)
    team.kubelet.succeed("g", "prove", proof=GOOD)
    team.wait(KIND, "g", "Ready", "True", seconds=60)


def message(team: Team, condition: str, *words: str) -> str:
    """Wait until a condition's message holds all words; gives it."""

    def look() -> str:
        text = str(team.condition(KIND, "g", condition).get("message", ""))
        return text if all(word in text for word in words) else ""

    return str(until(look, f"{words} in {condition}", 60))


def test_an_update_that_cannot_be_pulled_is_told_and_the_version_before_serves_on(
    team: Team, operator: OperatorProcess
):
    bring_up(team)
    team.patch(KIND, "g", {"guardrails": RAILS | {"image": TYPO}})
    new, _ = team.kubelet.server_pods("g", "guardrails", 2)
    team.kubelet.hinder(new, "ImagePullBackOff", f'Back-off pulling image "{TYPO}"')
    stalled = team.wait(KIND, "g", "Stalled", "True", reason="PodCannotStart")
    for words in (new["metadata"]["name"], "container guardrails", "ImagePullBackOff", TYPO, "serves on"):
        assert words in stalled["message"]
    for kind, status in (("Ready", "False"), ("Available", "True"), ("RailsProven", "True")):
        assert team.condition(KIND, "g", kind)["status"] == status
    team.patch(KIND, "g", {"guardrails": RAILS | {"image": None}})
    team.wait(KIND, "g", "Ready", "True")


def test_an_update_that_a_quota_refuses_is_told_and_comes_up_when_it_is_raised(
    team: Team, operator: OperatorProcess
):
    bring_up(team)
    hard = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}}
    team.apply(hard | {"spec": {"hard": {"count/pods": "4"}}})
    team.patch(KIND, "g", {"serving": {"args": ["--seed", "7"]}})
    message(team, "Ready", "The model server: no pod: FailedCreate", "exceeded quota: q", "serves on")
    assert team.condition(KIND, "g", "Available")["status"] == "True"
    team.apply(hard | {"spec": {"hard": {"count/pods": "9"}}})
    new, _ = until(lambda: team.kubelet.server_pods("g", "model", 2), "the new pod", 60)
    team.kubelet.serve(new)
    team.wait(KIND, "g", "ModelReady", "True")


def served(team: Team) -> str:
    return str(team.get(KIND, "g")["status"]["served"]["modelDigest"])


def replace_model(team: Team, digest: str) -> None:
    """Let a new pod of the model take the place of the old one, and be proved."""
    new, _ = until(lambda: team.kubelet.server_pods("g", "model", 2), "the new pod", 60)
    team.kubelet.serve(new)
    until(lambda: served(team) == digest, f"{digest} in service", 60)
    team.kubelet.succeed("g", "prove", proof=GOOD)
    team.wait(KIND, "g", "Ready", "True", seconds=60)


def test_a_person_goes_back_to_the_model_before_and_the_history_says_so(
    team: Team, operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
):
    bring_up(team)
    first = served(team)
    team.patch(KIND, "g", {"model": {"source": {"uri": "hf://org/other"}}})
    other = Artifact(uri=f"{team.namespace}/models/other", digest="sha256:" + "2" * 64, bytes=1)
    team.kubelet.succeed("g", "fetch", output=other)
    replace_model(team, other.digest)
    monkeypatch.setenv("PATH", f"{CACHE / 'bin'}:{os.environ['PATH']}")
    where = ["-n", team.namespace, "--kubeconfig", str(team.server.kubeconfig)]
    assert main(["rollout", "undo", "g", *where]) == 0
    replace_model(team, first)
    status = team.get(KIND, "g")["status"]
    digests = [(item["number"], item["modelDigest"]) for item in status["revisions"]]
    assert digests == [(3, first), (2, other.digest), (1, first)]
    assert all(item["provenAt"] for item in status["revisions"])
    assert main(["rollout", "status", "g", *where]) == 0


@pytest.fixture(scope="module")
def one_gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A cluster with the real scheduler and one fake node that has one GPU."""
    with running_apiserver(tmp_path_factory.mktemp("gpu"), "--controllers", "--scheduler") as server:
        server.install_crds()
        room = {"cpu": "64", "memory": "512Gi", "pods": "100", "nvidia.com/gpu": "1"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gpu-0"}}
        server.kubectl("create", "-f", "-", stdin=json.dumps(node))
        ready = {"type": "Ready", "status": "True", "reason": "Fake"}
        status = {"capacity": room, "allocatable": room, "conditions": [ready]}
        path = "/api/v1/nodes/gpu-0"
        assert server.http.patch(f"{path}/status", json={"status": status}, headers=MERGE).is_success
        # The API server taints a node at its birth, and a kubelet or a controller takes that away.
        assert server.http.patch(path, json={"spec": {"taints": None}}, headers=MERGE).is_success
        yield server


class TestOneGpu:
    """On a cluster whose only GPU serves."""

    @pytest.fixture
    def team(self, request: pytest.FixtureRequest, one_gpu: ApiServer) -> Team:
        return make_team(one_gpu, request.node.name)

    def test_an_update_names_the_missing_gpu_and_with_recreate_the_old_pod_goes_first(
        self, team: Team, start_operator: Starter
    ):
        start_operator()
        team.server.kubectl("apply", "-f", "-", stdin=json.dumps(volume(team)))
        bring_up(team, serving={"device": "gpu"})
        until(lambda: placed(team), "the first pod on the node", 60)
        team.patch(KIND, "g", {"serving": {"device": "gpu", "maxModelLen": 4096}})
        message(team, "Ready", "Unschedulable", "Insufficient nvidia.com/gpu", "updateStrategy", "serves on")
        assert team.condition(KIND, "g", "Available")["status"] == "True"
        assert team.condition(KIND, "g", "RailsProven")["status"] == "True"
        _, old = team.kubelet.server_pods("g", "model", 2)
        recreate = {"device": "gpu", "maxModelLen": 4096, "updateStrategy": {"type": "Recreate"}}
        team.patch(KIND, "g", {"serving": recreate})
        until(lambda: is_going(team, old), "the old pod's end")
        team.kubelet.bury(old)
        (new,) = until(lambda: placed(team), "the new pod on the node", 60)
        team.kubelet.serve(new)
        team.wait(KIND, "g", "ModelReady", "True")


def volume(team: Team) -> dict[str, Any]:
    """A volume for the team's claim: without one the scheduler takes no pod that mounts it."""
    claim = {"namespace": team.namespace, "name": "safety-artifacts"}
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/nowhere"},
        "claimRef": claim,
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": team.namespace},
        "spec": spec,
    }


def is_going(team: Team, pod: dict[str, Any]) -> bool:
    path = f"/api/v1/namespaces/{team.namespace}/pods/{pod['metadata']['name']}"
    return "deletionTimestamp" in team.server.http.get(path).json()["metadata"]


def placed(team: Team) -> list[dict[str, Any]]:
    return [pod for pod in team.kubelet.server_pods("g", "model") if pod["spec"].get("nodeName")]
