"""Trackers of a SafetyFinetune: credentials, reach, and what the status says of them."""

import pytest
from tests.unit.planning.examples import finished_blend, make_finetune

from safety_records.result import Training
from safety_records.stages import parse_stage_spec
from safety_records.tracking import TrackedRun

LABEL = "modelsafety.dev/egress"
KEY = {"name": "wandb", "key": "api-key"}
OUTSIDE = {"mlflow": {"uri": "https://mlflow.example.com"}}


def start_training(world):
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    world.succeed("fetch", max_length=2048)
    world.settle()
    return world


def trained_with(tracking, **spec):
    world = make_finetune(tracking=tracking, **spec)
    world.secrets = {"wandb": "1", "mlflow": "1"}
    return start_training(world)


def variables(world):
    (container,) = world.job("train")["spec"]["template"]["spec"]["containers"]
    return {item["name"]: item for item in container["env"]}


def reach(world):
    return world.job("train")["spec"]["template"]["metadata"]["labels"][LABEL]


def egress(world, name):
    (policy,) = (
        child
        for key, child in world.applied.items()
        if key.kind == "NetworkPolicy" and key.name.endswith(f"-egress-{name}")
    )
    return policy["spec"]["egress"]


def test_the_trainer_is_told_of_trackers_and_gets_keys_in_variables_that_pods_start_without():
    mlflow = {
        "uri": "https://m.example.com/base",
        "username": "u",
        "passwordSecretRef": {"name": "mlflow", "key": "p"},
    }
    world = trained_with(
        {"mlflow": mlflow, "wandb": {"project": "safety", "apiKeySecretRef": KEY}, "tensorboard": {}}
    )
    told = parse_stage_spec(world.specification("train")).tracking
    assert told.names == ("mlflow", "wandb", "tensorboard")
    assert (told.mlflow.username, told.mlflow.token_env) == ("u", "")
    assert told.mlflow.password_env == "SAFETY_MLFLOW_PASSWORD"
    assert told.wandb.api_key_env == "SAFETY_WANDB_API_KEY"
    assert variables(world)["SAFETY_WANDB_API_KEY"]["valueFrom"] == {
        "secretKeyRef": {**KEY, "optional": True}
    }
    assert "SAFETY_MLFLOW_TOKEN" not in variables(world)


def test_nemo_rl_is_told_in_its_own_image():
    compute, nemo = {"device": "gpu", "gpusPerNode": 8}, {"runAsRoot": True}
    batch = {"global": 8, "micro": 1, "maxSequenceLength": 256}
    world = trained_with(OUTSIDE, backend="nemo-rl", nemoRl=nemo, compute=compute, batch=batch)
    world.succeed("prepare")
    world.settle()
    assert parse_stage_spec(world.specification("train")).tracking.mlflow.uri == "https://mlflow.example.com"
    assert reach(world) == "internet"


@pytest.mark.parametrize(
    ("tracking", "name", "namespaces"),
    [
        (OUTSIDE, "internet", None),
        ({"wandb": {"apiKeySecretRef": KEY}}, "internet", None),
        ({"mlflow": {"uri": "http://mlflow:5000"}}, "namespace", []),
        ({"mlflow": {"uri": "http://mlflow.team.svc:5000"}}, "namespace", []),
        ({"mlflow": {"uri": "http://mlflow.ops.svc.cluster.local"}}, "trackers", ["ops"]),
        (
            {
                "mlflow": {"uri": "http://mlflow.ops.svc"},
                "wandb": {"apiKeySecretRef": KEY, "baseUrl": "http://wandb.ml.svc:8080"},
            },
            "trackers",
            ["ml", "ops"],
        ),
        ({"tensorboard": {}}, "namespace", []),
    ],
)
def test_pods_that_train_may_reach_their_trackers_and_no_more(tracking, name, namespaces):
    world = trained_with(tracking)
    assert reach(world) == name
    if namespaces is None:
        assert egress(world, name) == [{}]
        return
    *_, allowed = egress(world, name)
    wanted = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": n}}} for n in namespaces]
    assert allowed == {"to": [{"podSelector": {}}, *wanted]}
    assert variables(world)["HF_HUB_OFFLINE"]["value"] == "1"


def test_hubs_stay_out_of_reach_of_libraries_though_a_tracker_is_outside():
    assert variables(trained_with(OUTSIDE))["HF_HUB_OFFLINE"]["value"] == "1"


def test_a_missing_secret_is_said_before_anything_starts_and_stops_nothing_that_runs():
    tracking = {"wandb": {"apiKeySecretRef": KEY}}
    world = make_finetune(tracking=tracking)
    world.settle()
    assert world.condition("Ready")["reason"] == "SecretMissing"
    assert "spec.tracking.wandb.apiKeySecretRef" in world.condition("Ready")["message"]
    assert not world.names("Job")
    world = trained_with(tracking)
    name = world.start("train", done=2, total=84, unit="steps")
    del world.secrets["wandb"]
    world.settle()
    assert (name in world.names("Job"), world.status["step"]) == (True, 2)


def test_a_secret_that_no_resource_may_use_reaches_no_pod():
    world = make_finetune()
    world.withheld, world.secrets = {"wandb": "is withheld"}, {"wandb": "1"}
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    world.edit(tracking={"wandb": {"apiKeySecretRef": KEY}})
    world.succeed("fetch", max_length=2048)
    world.settle()
    assert "SAFETY_WANDB_API_KEY" not in variables(world)


def test_another_tracker_neither_stops_a_training_nor_starts_it_anew():
    world = trained_with(OUTSIDE)
    name = world.start("train")
    world.edit(tracking={"tensorboard": {}})
    world.settle()
    assert world.job("train")["metadata"]["name"] == name
    assert len(world.names("Job")) == 2


def test_runs_are_in_the_status_and_what_they_lack_is_a_warning_and_an_event_once():
    world = trained_with(OUTSIDE | {"tensorboard": {}})
    runs = (
        TrackedRun(tracker="mlflow", problem="the server cannot be reached"),
        TrackedRun(tracker="tensorboard", run="r-1", url="team/tensorboard-1"),
    )
    for _ in range(2):
        world.start("train", done=2, total=84, unit="steps", resumes=0, tracking=runs)
        world.settle()
    words = "tracking.mlflow: the server cannot be reached. Training does not depend on it."
    folder = "pvc://safety-artifacts/team/tensorboard-1"
    assert world.status["tracking"] == [
        {"tracker": "mlflow", "problem": "the server cannot be reached"},
        {"tracker": "tensorboard", "run": "r-1", "url": folder},
    ]
    assert world.status["warnings"] == [words]
    assert [event.message for event in world.events].count(words) == 1
    done = TrackedRun(tracker="mlflow", run="4f", url="https://m/#/4f")
    world.succeed("train", output="product", training=Training(step=84, steps=84, tracking=(done, runs[1])))
    world.settle()
    assert world.status["tracking"][0] == {"tracker": "mlflow", "run": "4f", "url": "https://m/#/4f"}
    assert "warnings" not in world.status
