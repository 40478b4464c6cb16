"""Trainings on Ray by both launchers on the real cluster, with KubeRay's own operator; each loses a pod.

What trains stands in for NeMo-RL (``tests/ray_cluster/stand_in``); all around it is what NeMo-RL would have.
The two lose different pods after different checkpoints: the same rows, batches and steps end in the same
weights only if nothing of a kill is left in them.
"""

import json
from collections.abc import Iterator

import pytest
from tests.e2e.conftest import REPO, script
from tests.e2e.kube import Kube, Object, condition, is_true
from tests.until import until

pytestmark = pytest.mark.cluster

CLAIM = REPO / "examples/01-quickstart/claim.yaml"
"""As the other tests of this namespace have it."""
MODEL = REPO / "tests/worker_models/worker/tiny_model.py"
INDEX, NODE_TYPE = "batch.kubernetes.io/job-completion-index", "ray.io/node-type"
STEPS = 18
EVERY = 3
"""Steps between two checkpoints."""
SECONDS = 900
LOST = {"kuberay": f"{NODE_TYPE}=head", "job": f"{INDEX}=1"}
"""Which pod each training loses: KubeRay's head, and the other node of the Job."""
AT = {"kuberay": 4, "job": 6}
"""Steps after which it does."""


def finetune(launcher: str) -> Object:
    """Two nodes, a second's pause after each step to kill in."""
    spec: Object = {
        "model": {"source": {"uri": "pvc://safety-artifacts/tiny-model"}},
        "data": {"uri": "configmap://ray-rows/rows.jsonl"},
        "backend": "nemo-rl",
        "nemoRl": {"version": "0.7.0", "image": "model-safety/nemo-rl-stand-in:dev"},
        "schedule": {"steps": STEPS, "learningRate": "1e-2"},
        "batch": {"global": 4, "micro": 1, "maxSequenceLength": 32},
        "checkpoint": {"everySteps": EVERY, "keep": 2},
        "compute": {
            "device": "gpu",
            "launcher": launcher,
            "nodes": 2,
            "gpusPerNode": 1,
            "resources": {"requests": {"cpu": "100m", "memory": "700Mi"}},
        },
        "pod": {"roles": {"trainer": {"env": [{"name": "NRL_STAND_IN_PAUSE", "value": "1"}]}}},
    }
    return {
        "apiVersion": "modelsafety.dev/v1alpha1",
        "kind": "SafetyFinetune",
        "metadata": {"name": f"ray-{launcher}"},
        "spec": spec,
    }


def rows() -> str:
    """Conversations in the words of the tiny model."""
    turns = [(f"w{number} w{number + 1}", f"w{number + 2}") for number in range(8)]
    lines = (
        [{"role": "user", "content": ask}, {"role": "assistant", "content": tell}] for ask, tell in turns
    )
    return "".join(f"{json.dumps({'messages': line})}\n" for line in lines)


@pytest.fixture(scope="module")
def ready(kube: Kube) -> Iterator[Kube]:
    """KubeRay's operator and the stand-in's image; claim, rows, and the model on the claim."""
    script("kuberay.sh", "up", seconds=1800)
    kube.run("apply", "-f", str(CLAIM))
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ray-rows"}}
    kube.run("apply", "-f", "-", stdin=json.dumps(config | {"data": {"rows.jsonl": rows()}}))
    command = [
        "python",
        "-c",
        MODEL.read_text(encoding="utf-8"),
        "/artifacts/tiny-model",
        '{"dtype": "float32"}',
    ]
    made = kube.pod("tiny-model", command, claim="safety-artifacts")
    assert made["phase"] == "Succeeded", made["output"]
    yield kube
    kube.run("delete", "sft", *(f"ray-{launcher}" for launcher in LOST), "--ignore-not-found")
    script("kuberay.sh", "down")


def trained(kube: Kube, launcher: str) -> Object:
    """The status of a training once it is Ready."""

    def look() -> Object | None:
        found = kube.get("sft", f"ray-{launcher}")
        stalled = condition(found, "Stalled")
        assert stalled.get("status") != "True", stalled
        return found if is_true(found, "Ready") else None

    status: Object = until(look, f"SafetyFinetune ray-{launcher}", SECONDS)["status"]
    return status


def kill_both(kube: Kube) -> None:
    """Delete the pod that each training loses at once, as a lost node would, when it is far enough."""
    left = dict(LOST)

    def look() -> bool:
        for launcher in [launcher for launcher in left if steps_of(kube, launcher) >= AT[launcher]]:
            of = f"modelsafety.dev/name=ray-{launcher},modelsafety.dev/role=train,{left.pop(launcher)}"
            told = kube.run("delete", "pod", "-l", of, "--grace-period=0", "--force", "--wait=false")
            assert "force deleted" in told
        return not left

    until(look, "steps of both trainings", SECONDS)


def steps_of(kube: Kube, launcher: str) -> int:
    """Steps that are done, as far as the status knows."""
    return int(kube.get("sft", f"ray-{launcher}").get("status", {}).get("step") or 0)


def test_both_launchers_come_to_the_same_model_though_each_loses_a_pod(ready: Kube) -> None:
    kube = ready
    for launcher in LOST:
        kube.run("apply", "-f", "-", stdin=json.dumps(finetune(launcher)))
    kill_both(kube)
    found = {launcher: trained(kube, launcher) for launcher in LOST}
    assert {(status["step"], status["resumes"]) for status in found.values()} == {(STEPS, 1)}
    assert found["job"]["output"]["digest"] == found["kuberay"]["output"]["digest"]
    assert "RayHeadLost" in kube.run("describe", "sft", "ray-kuberay")
    assert "PodEnded" in kube.run("describe", "sft", "ray-job")
