"""What becomes of output.push: a stage of its own behind the one that makes the model."""

import pytest
from tests.unit.planning.examples import finished_blend, make_eval, make_finetune
from tests.unit.planning.world import digest_of

from safety_operator.state.labels import LABEL_EGRESS, LABEL_ROLE
from safety_records.push import find_push_problem, parse_hub_target
from safety_records.result import Artifact, Pushed
from safety_records.stages import parse_stage_spec

HUB = {"uri": "hf://org/hardened", "tokenSecretRef": {"name": "hub", "key": "token"}}
COMMIT = "c" * 40


def make_world(push=None, **spec):
    world = make_finetune(output={"push": push or HUB}, **spec)
    world.refer("SafetyBlend", "blend", finished_blend())
    world.secrets["hub"] = {"metadata": {"name": "hub", "resourceVersion": "1"}}
    return world


def train(world):
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    world.succeed("train", output="product")
    world.settle()


def jobs(world):
    """All Jobs by their stage, whether they run or are done."""
    found = [child for key, child in world.children.items() if key.kind == "Job"]
    return {job["metadata"]["labels"][LABEL_ROLE]: job for job in found}


def container(world):
    return world.job("push")["spec"]["template"]["spec"]["containers"][0]


def test_a_model_is_pushed_when_it_is_trained_by_a_job_with_the_secret_and_no_gpu():
    world = make_world(compute={"device": "gpu"})
    train(world)
    spec = parse_stage_spec(world.specification("push"))
    assert (spec.uri, spec.digest, spec.replace) == (HUB["uri"], digest_of("product"), False)
    assert spec.model == world.status["output"]["uri"].removeprefix("pvc://safety-artifacts/")
    env = {item["name"]: item for item in container(world)["env"]}
    assert env["PUSH_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "token"}
    assert spec.token_env == "PUSH_TOKEN"
    assert "nvidia.com/gpu" not in str(container(world)["resources"])


def test_only_the_pods_that_fetch_and_push_reach_the_internet():
    world = make_world()
    train(world)
    reach = {
        name: job["spec"]["template"]["metadata"]["labels"][LABEL_EGRESS] for name, job in jobs(world).items()
    }
    assert reach == {"fetch": "internet", "train": "namespace", "push": "internet"}


def test_with_nemo_rl_it_follows_the_export():
    nemo = {"image": "registry.example/nemo:1"}
    world = make_world(backend="nemo-rl", nemoRl=nemo, compute={"device": "gpu"})
    world.settle()
    assert [stage["name"] for stage in world.status["stages"]][-2:] == ["export", "push"]


def test_it_is_ready_when_the_model_is_pushed_and_says_where():
    world = make_world()
    train(world)
    assert world.condition("Ready")["status"] == "Unknown"
    report = Artifact(uri="out/report-1", digest=digest_of("report"), bytes=1)
    pushed = Pushed(uri=f"hf://org/hardened@{COMMIT}", revision=COMMIT)
    world.succeed("push", pushed=pushed, report=report, html="out/report-1/finetune.html")
    world.settle()
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("Ready")["message"].endswith(f"at hf://org/hardened@{COMMIT}.")
    pushed = world.status["output"]["pushed"]
    assert (pushed["uri"], pushed["revision"]) == (f"hf://org/hardened@{COMMIT}", COMMIT)
    assert pushed["at"]
    assert world.status["report"]["digest"] == report.digest, "the one that names the push"
    assert world.status["report"]["html"].endswith("/out/report-1/finetune.html")


def test_a_model_that_cannot_be_pushed_is_not_ready_and_is_evaluated_all_the_same():
    world = make_world()
    train(world)
    world.fail("push", reason="TargetTaken", message="hf://org/hardened holds something else", input_=True)
    world.settle()
    assert world.condition("Ready")["reason"] == "TargetTaken"
    assert "pushed" not in world.status["output"]
    evaluation = make_eval(model={"finetuneRef": {"name": "hardened"}})
    evaluation.refer("SafetyFinetune", "hardened", world.resource)
    evaluation.settle()
    assert evaluation.condition("Ready")["reason"] != "WaitingForReference"
    assert evaluation.names("Deployment"), "its server starts"


def test_a_model_of_an_older_generation_is_waited_for():
    world = make_world()
    train(world)
    world.resource["metadata"]["generation"] += 1
    evaluation = make_eval(model={"finetuneRef": {"name": "hardened"}})
    evaluation.refer("SafetyFinetune", "hardened", world.resource)
    evaluation.settle()
    assert evaluation.condition("Ready")["reason"] == "WaitingForReference"


def test_another_target_pushes_again_and_trains_nothing():
    world = make_world()
    train(world)
    world.succeed("push", pushed=Pushed(uri="hf://org/hardened@1"))
    world.settle()
    before = {name: job["metadata"]["name"] for name, job in jobs(world).items()}
    world.edit(output={"push": {**HUB, "uri": "hf://org/hardened@v2"}})
    world.settle()
    after = {name: job["metadata"]["name"] for name, job in jobs(world).items()}
    assert after["train"] == before["train"]
    assert after["push"] != before["push"]
    assert "pushed" not in world.status["output"]


def test_a_secret_that_is_missing_shows_before_anything_is_trained():
    world = make_world()
    world.secrets.clear()
    world.settle()
    found = world.condition("Ready")
    assert found["reason"] == "SecretMissing"
    assert "spec.output.push.tokenSecretRef" in found["message"]
    assert not world.names("Job")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("hf://org/name@refs/pr/1", "name a branch"),
        (f"hf://org/name@{COMMIT}", "name a branch"),
        ("hf://datasets/name", "write hf://organisation/name"),
        ("s3://bucket/../other", "leads out"),
        ("s3://bucket/models/*", "patterns"),
        ("oci://registry/Repository:v1", "write oci://registry/repository"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_with_what_to_write(uri, words):
    assert words in find_push_problem(uri)
    world = make_world({**HUB, "uri": uri})
    world.settle()
    found = world.condition("Stalled")
    assert found["reason"] == "InvalidSpec"
    assert words in found["message"]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("hf://org/name", ("org/name", "main")),
        ("hf://models/org/name@run/2", ("org/name", "run/2")),
        ("hf://org/name@run%2F2", ("org/name", "run/2")),
    ],
)
def test_everything_behind_the_at_is_the_branch(uri, expected):
    assert parse_hub_target(uri) == expected
    assert not find_push_problem(uri)
