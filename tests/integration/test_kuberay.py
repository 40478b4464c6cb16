"""Trainings that KubeRay carries out, with its real operator against a real API server."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.apiserver import ApiServer, running_apiserver
from tests.integration.conftest import Team, make_team
from tests.integration.kuberay import Heads, HeadStandIn, running_heads, running_kuberay
from tests.integration.operator_process import OperatorProcess
from tests.integration.test_life_cycle import TRAINED, finetune
from tests.until import until

from safety_operator.api.pods import PodOptions
from safety_operator.api.safety_finetune import Compute
from safety_operator.children.accelerated_job import nemo_rl_shape
from safety_operator.children.metadata import Owner
from safety_operator.children.pod_options import effective_options
from safety_operator.children.ray_job import build_ray_job
from safety_operator.children.worker_job import JobShape, StageRun
from safety_operator.cluster.ray_jobs import as_job, record_in_words
from safety_operator.state.reading import condition_of, is_true
from safety_operator.state.settings import DEFAULT_PODS, Images
from safety_records.result import FailureClass, StageFailure, StageResult

RAY = "/apis/ray.io/v1"


@pytest.fixture(scope="module")
def ray_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A server of its own: the operators of other tests have no RayJobs to see."""
    with running_apiserver(tmp_path_factory.mktemp("ray") / "server", "--controllers") as server:
        server.install_crds()
        yield server


@pytest.fixture(scope="module")
def heads(ray_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heads]:
    """KubeRay, installed when the first test wants it."""
    folder = tmp_path_factory.mktemp("kuberay")
    with running_heads() as (proxy, found), running_kuberay(ray_server, folder, proxy):
        yield found


@pytest.fixture
def team(ray_server: ApiServer, request: pytest.FixtureRequest) -> Team:
    return make_team(ray_server, request.node.name)


@pytest.fixture
def head(heads: Heads, team: Team) -> HeadStandIn:
    return heads[team.namespace]


def manifest(team: Team, **compute: Any) -> dict[str, Any]:
    """The RayJob of a training on two nodes; owned by nobody, since nothing else is there."""
    shape = nemo_rl_shape(
        JobShape(),
        Compute(nodes=2, gpus_per_node=8, launcher="kuberay"),
        image="registry.example/nemo-rl:v0.7.0",
        version="0.7.0",
    )
    made = build_ray_job(
        StageRun(
            Owner("SafetyFinetune", "hardened", team.namespace, "uid"),
            "train",
            "{}",
            inputs_hash="ab" * 20,
            attempt=1,
            versions={},
            shape=shape,
            images=Images("worker:1", "server:1", "guardrails:1"),
            options=effective_options(DEFAULT_PODS, PodOptions(), "trainer"),
            claim="safety-artifacts",
            queue="",
        )
    )
    del made["metadata"]["ownerReferences"]
    return made


def create(team: Team, ray_job: dict[str, Any]) -> str:
    path = f"{RAY}/namespaces/{team.namespace}/rayjobs?fieldValidation=Strict"
    answer = team.server.http.post(path, json=ray_job)
    assert answer.is_success, answer.text
    return str(answer.json()["metadata"]["name"])


def read(team: Team, name: str) -> dict[str, Any]:
    found: dict[str, Any] = team.server.http.get(f"{RAY}/namespaces/{team.namespace}/rayjobs/{name}").json()
    return found


def pods(team: Team) -> list[dict[str, Any]]:
    path = f"/api/v1/namespaces/{team.namespace}/pods"
    found: list[dict[str, Any]] = team.server.http.get(
        path, params={"labelSelector": "ray.io/cluster"}
    ).json()["items"]
    return found


def run_pods(team: Team, number: int) -> list[dict[str, Any]]:
    """Let all pods of the cluster run."""
    found: list[dict[str, Any]] = until(
        lambda: mine if len(mine := pods(team)) == number else None, f"{number} pods of the cluster"
    )
    for pod in found:
        team.kubelet.serve(pod)
    return found


def ended(team: Team, name: str, type_: str) -> dict[str, Any]:
    return until(  # type: ignore[no-any-return]
        lambda: job if is_true(job := as_job(read(team, name)), type_) else None, f"{type_} of {name}", 60
    )


def test_a_fine_tune_waits_for_kuberay_trains_with_it_and_hands_over_a_model(
    team: Team, operator: OperatorProcess, request: pytest.FixtureRequest
):
    compute = {"device": "gpu", "launcher": "kuberay", "nodes": 2, "gpusPerNode": 2}
    nemo = {"image": "registry.example.com/nemo-rl:any-user"}
    team.apply(finetune(backend="nemo-rl", nemoRl=nemo, compute=compute))
    team.kubelet.succeed("hardened", "fetch", max_length=16384)
    team.kubelet.succeed("hardened", "prepare")
    stalled = team.wait("safetyfinetunes", "hardened", "Stalled", "True", reason="KubeRayMissing")
    assert "set spec.compute.launcher to job" in stalled["message"]

    head: HeadStandIn = request.getfixturevalue("heads")[team.namespace]
    team.wait("safetyfinetunes", "hardened", "Reconciling", "True", reason="Running", seconds=60)
    run_pods(team, 2)
    until(lambda: head.submitted, "the submission", 60)
    (ray_job,) = team.children(RAY, "rayjobs")
    assert [owner["kind"] for owner in ray_job["metadata"]["ownerReferences"]] == ["SafetyFinetune"]
    head.status = "SUCCEEDED"

    team.kubelet.succeed("hardened", "train", training=TRAINED)
    team.kubelet.succeed("hardened", "export")
    team.wait("safetyfinetunes", "hardened", "Ready", "True", reason="Completed")
    until(lambda: not team.children(RAY, "rayjobs"), "the RayJob's end")


def test_a_training_runs_on_pods_as_wanted_and_is_complete(team: Team, head: HeadStandIn):
    name = create(team, manifest(team))
    found = run_pods(team, 2)
    until(lambda: head.submitted, "the submission", 60)
    (job,) = head.submitted
    assert job["entrypoint"].endswith("nemo_rl/start.sh --spec /specification/spec.json")
    for pod in found:
        (container,) = pod["spec"]["containers"]
        command = " ".join(container["args"])
        assert "--num-gpus=8" in command
        assert "--num-cpus=32" in command
        assert "wget" not in str(pod["spec"])
        assert "copy-worker" in [init["name"] for init in pod["spec"]["initContainers"]]
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert all(
            init["securityContext"]["capabilities"]["drop"] == ["ALL"]
            for init in (*pod["spec"]["initContainers"], container)
        )
    head.status = "SUCCEEDED"
    ended(team, name, "Complete")
    until(
        lambda: not [pod for pod in pods(team) if "deletionTimestamp" not in pod["metadata"]], "the pods' end"
    )


def test_the_record_of_a_training_that_failed_is_read_from_its_last_words(team: Team, head: HeadStandIn):
    name = create(team, manifest(team))
    run_pods(team, 2)
    until(lambda: head.submitted, "the submission", 60)
    failure = StageFailure(failure=FailureClass.INPUT, reason="LossNotFinite", message="step 3: NaN")
    record = StageResult(stage="train", inputs_hash="ab" * 20, failure=failure)
    head.message = f"Job entrypoint command failed with exit code 42, last logs:\n{record.to_json()}\n"
    head.status = "FAILED"
    assert record_in_words(ended(team, name, "Failed")) == record


def test_a_suspended_training_has_no_pods_until_it_is_let_in(team: Team, head: HeadStandIn):
    made = manifest(team)
    made["spec"]["suspend"] = True
    name = create(team, made)
    ended(team, name, "Suspended")
    assert pods(team) == []
    path = f"{RAY}/namespaces/{team.namespace}/rayjobs/{name}"
    merge = {"Content-Type": "application/merge-patch+json"}
    assert team.server.http.patch(path, json={"spec": {"suspend": False}}, headers=merge).is_success
    run_pods(team, 2)
    until(lambda: head.submitted, "the submission", 60)


def head_of(team: Team, other_than: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The head of the cluster, once KubeRay has made one."""

    def look() -> dict[str, Any] | None:
        found = [pod for pod in pods(team) if pod["metadata"]["labels"]["ray.io/node-type"] == "head"]
        return next((pod for pod in found if pod["metadata"]["name"] not in other_than), None)

    return until(look, "a head", 60)  # type: ignore[no-any-return]


def start_training(team: Team) -> None:
    """A fine-tune on one node, whose RayJob is there."""
    compute = {"device": "gpu", "launcher": "kuberay", "resources": {"limits": {"memory": "40Gi"}}}
    nemo = {"image": "registry.example.com/nemo-rl:any-user"}
    team.apply(finetune(backend="nemo-rl", nemoRl=nemo, compute=compute))
    team.kubelet.succeed("hardened", "fetch", max_length=16384)
    team.kubelet.succeed("hardened", "prepare")


def check_ended(team: Team) -> None:
    """KubeRay has taken everything away, and makes nothing more."""
    (ray_job,) = team.children(RAY, "rayjobs")
    found = ended(team, ray_job["metadata"]["name"], "Failed")
    assert condition_of(found, "Failed")["reason"] == "DeadlineExceeded"
    until(lambda: not pods(team), "the end of all pods", 60)


@pytest.mark.usefixtures("heads", "operator")
def test_a_head_that_is_killed_for_its_memory_is_told_and_not_made_anew(team: Team):
    start_training(team)
    team.kubelet.kill(head_of(team), 137, "OOMKilled")
    stalled = team.wait("safetyfinetunes", "hardened", "Stalled", "True", reason="OutOfMemory", seconds=60)
    assert "It had a limit of 40Gi; Ray and the driver of a training take 1Gi at least" in stalled["message"]
    check_ended(team)


@pytest.mark.usefixtures("heads", "operator")
def test_a_head_that_ends_three_times_is_told_and_not_made_anew(team: Team):
    start_training(team)
    names: set[str] = set()
    for _ in range(3):
        pod = head_of(team, frozenset(names))
        team.kubelet.kill(pod, 127, "Error", "ray: command not found")
        names.add(pod["metadata"]["name"])
    ready = team.wait("safetyfinetunes", "hardened", "Ready", "False", reason="RayCannotStart", seconds=60)
    assert "ended 3 times before the training began" in ready["message"]
    assert "ray: command not found" in ready["message"]
    check_ended(team)
