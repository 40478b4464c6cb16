"""The blueprint's example, read as clusters would read it: one of GPUs, and one of two CPU cores."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.cli.support import REPO, run_dry
from tests.unit.planning.restricted import pod_template, violations

from safety_cli.dry_run import DryRun
from safety_operator.api.kinds import KIND_BY_NAME
from safety_operator.schema.rules import find_mistakes
from safety_operator.state.settings import Images, PlanSettings

EXAMPLE = REPO / "examples/10-blueprint-gpu"
GPU = "nvidia.com/gpu"
VARIANTS = ("", "two-nodes", "nemo-rl", "offline", "cpu")


def built(folder: Path) -> list[dict[str, Any]]:
    """What ``kubectl kustomize`` gives, for what this example uses of it."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = []
    for name in kustomization["resources"]:
        path = folder / name
        inner = built(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        found += inner
    for patch in kustomization.get("patches", ()):
        change = yaml.safe_load(patch["patch"])
        target = patch.get("target") or {"kind": change["kind"], "name": change["metadata"]["name"]}
        for item in found:
            if item["kind"] == target["kind"] and target.get("name") in (None, item["metadata"]["name"]):
                merge(item, {key: value for key, value in change.items() if key != "metadata"})
    for maps in kustomization.get("configMapGenerator", ()):
        data = {Path(file).name: (folder / file).read_text(encoding="utf-8") for file in maps["files"]}
        found.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": maps["name"]}, "data": data}
        )
    return found


def merge(item: dict[str, Any], change: dict[str, Any]) -> None:
    """A JSON merge patch."""
    for key, value in change.items():
        if value is None:
            item.pop(key, None)
        elif isinstance(value, dict):
            merge(item.setdefault(key, {}), value)
        else:
            item[key] = value


@cache
def rendered(variant: str) -> DryRun:
    device = "cpu" if variant == "cpu" else "gpu"
    settings = PlanSettings(images=Images("worker:1", "server:1", "guardrails:1"), device=device)
    return run_dry(*built(EXAMPLE / variant), settings=settings)


def pods(variant: str, *, kind: str, role: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind of owner and pod, of all objects of a kind."""
    for item in rendered(variant).made():
        if item.manifest["kind"] == kind and role in (item.role, ""):
            yield item.owner.kind, item.manifest["spec"]["template"]["spec"]


def gpus(pod: dict[str, Any]) -> int:
    return int(pod["containers"][0]["resources"].get("limits", {}).get(GPU, 0))


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_api_server_takes_it_and_the_run_comes_to_its_end(variant):
    resources = [item for item in built(EXAMPLE / variant) if item["kind"] in KIND_BY_NAME]
    assert len(resources) == 5
    assert {item["metadata"]["name"]: find_mistakes(item) for item in resources} == {
        item["metadata"]["name"]: [] for item in resources
    }
    assert rendered(variant).unfinished() == {}
    assert rendered(variant).refused == {}


def test_a_training_takes_a_node_and_everything_that_its_gpus_need():
    (job,) = (
        item.manifest
        for item in rendered("").made()
        if (item.owner.kind, item.role, item.manifest["kind"]) == ("SafetyFinetune", "train", "Job")
    )
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert gpus(pod) == 8
    assert container["resources"]["requests"]["memory"] == "256Gi"
    shared = next(volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shm")
    assert shared == {"medium": "Memory", "sizeLimit": "32Gi"}
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 1
    assert pod["restartPolicy"] == "Never"


def training(variant: str) -> dict[str, Any]:
    """The specification of the training."""
    maps = (
        json.loads(item.manifest["data"]["spec.json"])
        for item in rendered(variant).made()
        if item.manifest["kind"] == "ConfigMap" and "spec.json" in item.manifest["data"]
    )
    return next(item for item in maps if item["stage"] == "train")


def test_a_training_has_the_published_settings():
    found = training("")
    assert (found["steps"], found["warmupSteps"], found["decay"]) == (40, 20, "cosine")
    assert (found["learningRate"], found["minLearningRate"]) == (5e-7, 5e-8)
    assert (found["globalBatch"], found["microBatch"], found["maxSequenceLength"]) == (16, 1, 8192)
    assert (found["processes"], found["strategy"], found["gradientCheckpointing"]) == (8, "fsdp", True)
    assert (found["checkpointSteps"], found["checkpointKeep"], found["best"]) == (20, 3, "validation-loss")


def test_pods_of_two_nodes_find_each_other_and_may_speak_at_every_port():
    made = [item.manifest for item in rendered("two-nodes").made() if item.owner.kind == "SafetyFinetune"]
    (job,) = (
        item for item in made if item["kind"] == "Job" and item["spec"].get("completionMode") == "Indexed"
    )
    (service,) = (item for item in made if item["kind"] == "Service")
    pod = job["spec"]["template"]["spec"]
    env = {item["name"]: item.get("value") for item in pod["containers"][0]["env"]}
    assert job["spec"]["parallelism"] == 2
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert pod["subdomain"] == service["metadata"]["name"]
    assert env["MASTER_ADDR"].split(".")[1] == service["metadata"]["name"]
    policy = next(
        item["spec"]
        for item in made
        if item["kind"] == "NetworkPolicy" and item["metadata"]["name"].endswith("egress-namespace")
    )
    assert {"to": [{"podSelector": {}}]} in policy["egress"]
    assert all("ports" not in rule for rule in policy["ingress"])


def test_nemo_rl_trains_in_its_own_image_with_root_in_that_container_only():
    roots = [
        container["image"]
        for _, pod in pods("nemo-rl", kind="Job")
        for container in (*pod["containers"], *pod.get("initContainers", ()))
        if container["securityContext"].get("runAsUser") == 0
    ]
    assert roots == ["nvcr.io/nvidia/nemo-rl:v0.7.0"]


def test_servers_have_a_gpu_shared_memory_probes_and_time_to_load():
    servers = list(pods("", kind="Deployment"))
    on_gpu = [pod for _, pod in servers if gpus(pod)]
    assert len(on_gpu) >= 4
    for pod in on_gpu:
        (container,) = pod["containers"]
        assert "readinessProbe" in container
        assert "startupProbe" in container
        shared = next(volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shm")
        assert shared["medium"] == "Memory"


def test_only_what_trains_and_serves_asks_for_gpus():
    asking = {(owner, gpus(pod)) for owner, pod in pods("", kind="Job") if gpus(pod)}
    assert asking == {("SafetyFinetune", 8)}


def test_offline_no_pod_may_reach_anything_outside_the_cluster():
    names = [item.manifest["metadata"]["name"] for item in rendered("offline").made()]
    assert [name for name in names if name.endswith("-egress-internet")] == []
    assert {(kind, name) for _, kind, name in rendered("offline").assumed} == {
        ("PersistentVolumeClaim", "offline")
    }


@pytest.mark.parametrize("variant", ["", "two-nodes", "offline", "cpu"])
def test_every_pod_is_restricted(variant):
    for item in rendered(variant).made():
        template = pod_template(item.manifest)
        assert template is None or not list(violations(template))


def test_on_cpu_nothing_asks_for_a_gpu_or_a_secret_and_two_processes_train():
    text = "\n".join(yaml.dump(item.manifest) for item in rendered("cpu").made())
    assert GPU not in text
    assert rendered("cpu").assumed == set()
    found = training("cpu")
    assert (found["device"], found["processes"], found["best"]) == ("cpu", 2, "validation-loss")
