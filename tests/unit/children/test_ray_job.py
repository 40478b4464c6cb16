"""Trainings on Ray as manifests: RayJobs, and Jobs whose pods make the cluster."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.until import until

from safety_operator.api.common import Resources
from safety_operator.api.pods import PodOptions
from safety_operator.api.safety_finetune import Compute
from safety_operator.children.accelerated_job import NEMO_RL_COMMAND, nemo_rl_shape
from safety_operator.children.metadata import Owner
from safety_operator.children.pod_options import effective_options
from safety_operator.children.ray_job import ENTRY, NAME_LENGTH, STOP, build_ray_job
from safety_operator.children.worker_job import JobShape, StageRun, build_stage_job
from safety_operator.state.labels import ANNOTATION_SPEC, LABEL_INSTANCE, QUEUE_LABEL
from safety_operator.state.settings import DEFAULT_PODS, Images

OWNER = Owner("SafetyFinetune", "hardened-" + "x" * 60, "team", "uid")
IMAGE = "registry.example/nemo-rl:v0.7.0"


def build(launcher: str, **compute: Any) -> dict[str, Any]:
    wanted = Compute(**{"nodes": 2, "gpus_per_node": 8, "launcher": launcher} | compute)
    make = build_ray_job if launcher == "kuberay" else build_stage_job
    return make(
        StageRun(
            OWNER,
            "train",
            "{}",
            inputs_hash="ab" * 20,
            attempt=1,
            versions={},
            shape=nemo_rl_shape(JobShape(), wanted, image=IMAGE, version="0.7.0"),
            images=Images("worker:1", "server:1", "guardrails:1"),
            options=effective_options(DEFAULT_PODS, PodOptions(), "trainer"),
            claim="artifacts",
            queue="gpus",
        )
    )


def groups(ray_job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = ray_job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    if manifest["kind"] == "Job":
        return [manifest["spec"]["template"]]
    return [group["template"] for group in groups(manifest)]


def env_of(pod: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item for item in pod["spec"]["containers"][0]["env"]}


@pytest.mark.parametrize("launcher", ["job", "kuberay"])
def test_pods_run_the_image_of_nemo_rl_with_the_workers_packages_put_before(launcher: str):
    for pod in pods(build(launcher)):
        (copy,), (container,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
        assert (copy["image"], container["image"]) == ("worker:1", IMAGE)
        assert copy["command"][-1] == env_of(pod)["PYTHONPATH"]["value"]
        mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
        assert mounts[env_of(pod)["PYTHONPATH"]["value"]]
        assert {"/artifacts", "/specification", "/dev/shm", "/tmp"} <= mounts.keys()


@pytest.mark.parametrize("launcher", ["job", "kuberay"])
def test_pods_ask_for_their_gpus_and_for_more_cpus_than_gpus(launcher: str):
    for pod in pods(build(launcher)):
        resources = pod["spec"]["containers"][0]["resources"]
        assert resources["limits"]["nvidia.com/gpu"] == 8
        assert int(resources["requests"]["cpu"]) > 8


@pytest.mark.parametrize("launcher", ["job", "kuberay"])
def test_all_pods_or_none_are_let_in_by_kueue(launcher: str):
    """Kueue counts parallelism of a Job and replicas of a RayJob's groups, and suspends both as a whole."""
    manifest = build(launcher)
    assert manifest["metadata"]["labels"][QUEUE_LABEL] == "gpus"
    assert "kueue.x-k8s.io/job-min-parallelism" not in manifest["metadata"]["annotations"]
    if launcher == "job":
        assert manifest["spec"]["parallelism"] == manifest["spec"]["completions"] == 2
        return
    assert manifest["spec"]["shutdownAfterJobFinishes"], "else KubeRay refuses to suspend it"
    assert [group.get("replicas", 1) for group in groups(manifest)] == [1, 1]
    (workers,) = manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert workers["minReplicas"] == workers["maxReplicas"] == workers["replicas"]
    assert "enableInTreeAutoscaling" not in manifest["spec"]["rayClusterSpec"]


def test_the_pods_of_a_job_know_which_job_they_are_of():
    (pod,) = pods(build("job"))
    path = env_of(pod)["SAFETY_RUN"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.labels['batch.kubernetes.io/controller-uid']"
    assert pod["spec"]["containers"][0]["command"] == list(NEMO_RL_COMMAND)
    assert pod["spec"]["containers"][0]["args"][0] == "--spec"


def test_a_ray_job_is_submitted_to_the_cluster_of_the_images_ray():
    manifest = build("kuberay")
    assert manifest["spec"]["submissionMode"] == "HTTPMode"
    assert manifest["spec"]["backoffLimit"] == 0
    assert manifest["spec"]["rayClusterSpec"]["rayVersion"] == "2.55.1"
    words = shlex.split(manifest["spec"]["entrypoint"])
    assert words[-4:] == [*NEMO_RL_COMMAND, "--spec", "/specification/spec.json"]
    assert manifest["metadata"]["annotations"][ANNOTATION_SPEC]


def test_a_ray_jobs_name_leaves_room_for_what_kuberay_adds():
    manifest = build("kuberay")
    assert len(manifest["metadata"]["name"]) <= NAME_LENGTH
    for pod in pods(manifest):
        assert pod["metadata"]["labels"][LABEL_INSTANCE] == manifest["metadata"]["name"]


def test_kuberay_writes_the_command_and_needs_no_program_of_the_image_to_probe_it():
    for group in groups(build("kuberay")):
        (container,) = group["template"]["spec"]["containers"]
        assert not {"command", "args"} & container.keys()
        assert "tcpSocket" in container["readinessProbe"]
        assert "tcpSocket" in container["livenessProbe"]


@pytest.mark.parametrize(("cpu", "told"), [("32", "32"), ("500m", "9"), ("9500m", "9")])
def test_ray_is_told_of_one_cpu_more_than_gpus_at_least(cpu: str, told: str):
    manifest = build("kuberay", resources=Resources(limits={"cpu": cpu}))
    assert {group["rayStartParams"]["num-cpus"] for group in groups(manifest)} == {told}


def test_one_node_is_a_head_alone():
    assert len(groups(build("kuberay", nodes=1))) == 1


@pytest.mark.parametrize("code", [0, 42])
def test_the_entry_point_ends_with_the_record_and_the_code_of_what_it_runs(tmp_path: Path, code: int):
    path = tmp_path / "message"
    path.write_text("of an earlier start")
    script = f"echo working; echo warned >&2; echo record > {path}; echo more; exit {code}"
    done = subprocess.run(
        ["bash", "-c", ENTRY, "bash", "bash", "-c", script],
        env={
            "PATH": os.environ["PATH"],
            "SAFETY_TERMINATION_LOG": str(path),
            "SAFETY_POD_LOG": str(tmp_path / "log"),
            "SAFETY_ENTRY_PID": str(tmp_path / "pid"),
        },
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert done.stdout.splitlines() == ["working", "warned", "more", "record"]
    assert (tmp_path / "log").read_text().splitlines() == ["working", "warned", "more"]


def test_a_head_that_is_to_go_ends_its_entry_point_first_and_waits_for_it(tmp_path: Path):
    env = {
        "PATH": os.environ["PATH"],
        "SAFETY_TERMINATION_LOG": str(tmp_path / "message"),
        "SAFETY_POD_LOG": str(tmp_path / "log"),
        "SAFETY_ENTRY_PID": str(tmp_path / "pid"),
    }
    trap = f"trap 'echo saved >{tmp_path}/saved; exit 143' TERM"
    script = f"{trap}; touch {tmp_path}/ready; while :; do sleep 0.1; done"
    with subprocess.Popen(["bash", "-c", ENTRY, "bash", "bash", "-c", script], env=env) as entry:
        until((tmp_path / "ready").exists, "the entry point")
        subprocess.run(["bash", "-c", STOP], env=env, check=True)
        assert (tmp_path / "saved").read_text() == "saved\n"
        assert entry.wait() == 143
    subprocess.run(["bash", "-c", STOP], env=env, check=True, capture_output=True)


def test_only_the_head_waits_for_an_entry_point():
    head, worker = pods(build("kuberay"))
    assert "preStop" in head["spec"]["containers"][0]["lifecycle"]
    assert "lifecycle" not in worker["spec"]["containers"][0]
