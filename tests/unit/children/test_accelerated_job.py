"""Pods of a training, as a GPU cluster reads them."""

import pytest
from tests.unit.planning.examples import finished_blend, make_finetune

from safety_records.model_shape import ModelShape

LLAMA_8B = ModelShape(
    parameters=8_030_261_248,
    layers=32,
    hidden_size=4096,
    intermediate_size=14336,
    query_size=4096,
    key_size=1024,
    vocabulary=128256,
)


def train_job(shape=None, **spec):
    world = make_finetune(**spec)
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    world.succeed("fetch", max_length=8192, shape=shape)
    world.settle()
    return world.job("train")


EIGHT_BY_TWO = {
    "compute": {"device": "gpu", "nodes": 2, "gpusPerNode": 8},
    "batch": {"global": 32, "micro": 1},
}


def test_a_pod_has_all_gpus_of_its_node_and_what_they_need():
    job = train_job(**EIGHT_BY_TWO)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 8
    assert (
        container["resources"]["requests"] | {"cpu": "32", "memory": "256Gi"}
        == (container["resources"]["requests"])
    )
    shared = next(volume for volume in pod["volumes"] if volume["name"] == "shm")
    assert shared["emptyDir"] == {"medium": "Memory", "sizeLimit": "32Gi"}
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    env = {item["name"]: item.get("value") for item in container["env"]}
    assert env["NCCL_DEBUG"] == "WARN"
    assert env["NNODES"] == "2"


def test_all_pods_of_a_job_are_admitted_together():
    job = train_job(**EIGHT_BY_TWO)
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 2
    assert "kueue.x-k8s.io/job-min-parallelism" not in job["metadata"].get("annotations", {})


def test_what_others_end_does_not_count_and_wrong_input_or_too_little_memory_ends_the_job():
    policy = train_job()["spec"]["podFailurePolicy"]["rules"]
    codes = {tuple(rule["onExitCodes"]["values"]): rule["action"] for rule in policy if "onExitCodes" in rule}
    assert codes == {(42, 137): "FailJob", (143,): "Ignore"}
    assert policy[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


def test_a_failure_that_takes_all_pods_along_counts_once_for_each():
    assert train_job()["spec"]["backoffLimit"] == 20
    assert train_job(**EIGHT_BY_TWO)["spec"]["backoffLimit"] == 40


@pytest.mark.parametrize(
    ("shape", "checkpoint", "seconds"),
    [
        (None, {}, 60),
        (LLAMA_8B, {}, 830),
        (LLAMA_8B.model_copy(update={"parameters": 1_000_000}), {}, 60),
        (LLAMA_8B.model_copy(update={"parameters": 700_000_000_000}), {}, 1800),
        (LLAMA_8B, {"graceSeconds": 25}, 25),
    ],
)
def test_a_pod_has_the_time_for_two_checkpoints_where_one_may_still_be_written(shape, checkpoint, seconds):
    job = train_job(shape, checkpoint=checkpoint, compute={"device": "gpu"})
    assert job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == seconds
