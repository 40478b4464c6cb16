"""A training of two pods with two processes each on the real cluster, with a pod that is killed on the way.

The undisturbed run is the same resource under another name, and the model is random and tiny: what is looked
at is the way of the pods to each other, and that nothing of a kill is left in the weights.
"""

import json
import random
from typing import Any

import pytest
from tests.e2e.conftest import REPO
from tests.e2e.kube import Kube, Object, condition, is_true
from tests.until import until

pytestmark = pytest.mark.cluster

CLAIM = REPO / "examples/01-quickstart/claim.yaml"
"""As the other tests of this namespace have it."""
MODEL = REPO / "tests/worker_models/worker/tiny_model.py"
INDEX = "batch.kubernetes.io/job-completion-index"
STEPS = 100
KILL_AT = 15
"""A step after the first checkpoint, and so long before the end that the status is not too late with it."""
SECONDS = 600


def finetune(name: str) -> Object:
    """Two pods, two processes each, FSDP2, in fp32: repeatable to the last bit."""
    spec: dict[str, Any] = {
        "model": {"source": {"uri": "pvc://safety-artifacts/tiny-model"}},
        "data": {"uri": "configmap://training-rows/rows.jsonl"},
        "schedule": {"steps": STEPS, "learningRate": "1e-3"},
        "batch": {"global": 4, "micro": 1, "maxSequenceLength": 64},
        "precision": "fp32",
        "checkpoint": {"everySteps": 10},
        "compute": {
            "device": "cpu",
            "nodes": 2,
            "processesPerNode": 2,
            "strategy": "fsdp",
            "resources": {"requests": {"cpu": "100m", "memory": "1500Mi"}},
        },
    }
    return {
        "apiVersion": "modelsafety.dev/v1alpha1",
        "kind": "SafetyFinetune",
        "metadata": {"name": name},
        "spec": spec,
    }


def rows() -> str:
    """Conversations in the words of the tiny model."""
    draw = random.Random(1)

    def words(count: int) -> str:
        return " ".join(f"w{draw.randrange(95)}" for _ in range(count))

    turns = [[("user", words(8)), ("assistant", words(12))] for _ in range(32)]
    lines = [{"messages": [{"role": role, "content": text} for role, text in row]} for row in turns]
    return "".join(f"{json.dumps(line)}\n" for line in lines)


@pytest.fixture(scope="module")
def ready(kube: Kube) -> Kube:
    """Claim, rows, and the model on the claim."""
    kube.run("apply", "-f", str(CLAIM))
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "training-rows"}}
    kube.run("apply", "-f", "-", stdin=json.dumps(config | {"data": {"rows.jsonl": rows()}}))
    script = MODEL.read_text(encoding="utf-8")
    changes = json.dumps({"dtype": "float32"})
    command = ["python", "-c", script, "/artifacts/tiny-model", changes]
    made = kube.pod("tiny-model", command, claim="safety-artifacts", seconds=SECONDS)
    assert made["phase"] == "Succeeded", made["output"]
    return kube


def trained(kube: Kube, name: str) -> Object:
    """The resource once it is Ready."""

    def look() -> Object | None:
        found = kube.get("sft", name)
        stalled = condition(found, "Stalled")
        assert stalled.get("status") != "True", stalled
        return found if is_true(found, "Ready") else None

    found: Object = until(look, f"SafetyFinetune {name}", SECONDS)
    return found


def kill(kube: Kube, name: str, index: int) -> None:
    """Delete a pod at once, as a lost node would."""
    of = {"modelsafety.dev/name": name, "modelsafety.dev/role": "train"} | {INDEX: str(index)}
    selector = ",".join(f"{key}={value}" for key, value in of.items())
    kube.run("delete", "pod", "-l", selector, "--grace-period=0", "--force", "--wait=false")


def test_a_killed_pod_leaves_nothing_in_the_weights_and_is_told(ready: Kube) -> None:
    kube = ready
    for name in ("whole", "killed"):
        kube.run("apply", "-f", "-", stdin=json.dumps(finetune(name)))
    until(lambda: kube.get("sft", "killed").get("status", {}).get("step", 0) >= KILL_AT, "its steps", SECONDS)
    kill(kube, "killed", index=0)
    whole, killed = trained(kube, "whole")["status"], trained(kube, "killed")["status"]
    assert killed["output"]["digest"] == whole["output"]["digest"]
    assert (whole["resumes"], killed["resumes"]) == (0, 1)
    assert (killed["processes"], killed["strategy"], killed["step"]) == (4, "fsdp", STEPS)
    described = kube.run("describe", "sft", "killed")
    assert "PodEnded" in described, described[-3000:]
    assert "PodEnded" not in kube.run("describe", "sft", "whole")
