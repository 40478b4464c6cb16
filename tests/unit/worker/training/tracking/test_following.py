"""The trainer's side, with real processes: trackers that work, that are down, that hang, that die."""

import os
import sys
import threading
from pathlib import Path

import pytest
from tests.unit.worker.training.tracking.mlflow_stand_in import MlflowStandIn
from tests.unit.worker.training.tracking.runs import write_steps

from safety_records.finetune_stages import TrainStage
from safety_records.tracking import MlflowTarget, TrackingTargets, WandbTarget
from safety_worker.errors import InputError
from safety_worker.training.event_file import EventFile
from safety_worker.training.tracking import following as trainers_side
from safety_worker.training.tracking.describing import describe
from safety_worker.training.tracking.following import following, tracker_environment
from safety_worker.training.tracking.tensorboard_files import FILE_NAME

OUT = "team/safetyfinetune/hardened/0f3a11c2/train-5d1e9a7745aa0c31"
KEY = "key-not-to-be-seen"


def spec(**tracking):
    return TrainStage(
        namespace="team", kind="SafetyFinetune", name="hardened", inputs_hash="5d1e9a7745aa0c31ff", root="file:///",
        out=OUT, model="team/models/m", train="team/blend/train.jsonl", learning_rate=1e-4, global_batch=4,
        micro_batch=1, max_sequence_length=128, precision="fp32", checkpoint_steps=2, checkpoint_keep=1,
        validation_steps=2, device="cpu", nodes=1, overrides={"optim": "sk-1234", "seed": 7},
        tracking=TrackingTargets(**tracking),
    )  # fmt: skip


@pytest.fixture
def environment():
    paths = [str(Path("operator").resolve()), str(Path("images/worker").resolve())]
    return {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(paths), "SAFETY_MLFLOW_TOKEN": KEY}


def metrics(root):
    return root / f"{OUT}.work" / "metrics.jsonl"


def train(spec, root, environment, numbers, seconds=30.0):
    """A training that writes its numbers and ends; what its trackers said."""
    with following(spec, root, environment) as tracked:
        write_steps(metrics(root), numbers)
        tracked.end("finished")
        tracked.wait(seconds)
        return tracked.runs()


def end_with(error, spec, root, environment):
    """A training that ends otherwise, after some steps."""
    with following(spec, root, environment):
        write_steps(metrics(root), range(1, 8))
        raise error


def test_numbers_are_at_all_trackers_when_a_training_is_over(tmp_path, environment, capfd):
    with MlflowStandIn() as server:
        target = MlflowTarget(uri=server.uri, token_env="SAFETY_MLFLOW_TOKEN")
        mlflow, board = train(spec(mlflow=target, tensorboard=True), tmp_path, environment, range(1, 21))
    run = server.only_run()
    assert (mlflow.run, mlflow.problem, run["status"]) == (run["id"], "", "FINISHED")
    assert [s for name, s, _ in server.only_points() if name == "train/loss"] == list(range(1, 21))
    assert [s for name, s, _ in server.only_points() if name == "eval/loss"] == [10, 20]
    folder = "team/safetyfinetune/hardened/0f3a11c2/tensorboard-5d1e9a7745aa0c31"
    assert (board.url, board.problem) == (folder, "")
    scalars = EventFile(tmp_path / folder / FILE_NAME).new_scalars()
    assert [item.step for item in scalars if item.tag == "train/loss"] == list(range(1, 21))
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in "".join(capfd.readouterr())


def test_a_tracker_that_is_down_is_a_problem_said_once_and_nothing_else(tmp_path, environment, capfd):
    down = MlflowTarget(uri="http://127.0.0.1:1")
    mlflow, board = train(spec(mlflow=down, tensorboard=True), tmp_path, environment, range(1, 4))
    assert "cannot be reached" in mlflow.problem
    assert board.problem == ""
    assert capfd.readouterr().err.count("tracking.mlflow: ") == 1


def test_a_tracker_that_never_answers_ends_with_the_training(tmp_path, environment):
    with MlflowStandIn() as server:
        release = threading.Event()
        server.fault = lambda _path: release.wait() and None
        target = MlflowTarget(uri=server.uri)
        (mlflow,) = train(spec(mlflow=target), tmp_path, environment, range(1, 4), seconds=0.5)
        release.set()
    assert "not all was sent" in mlflow.problem


def test_a_process_that_cannot_be_started_or_dies_is_a_problem(tmp_path, environment, monkeypatch):
    for command in (("/no/such/program",), (sys.executable, "-c", "raise SystemExit(3)")):
        monkeypatch.setattr(trainers_side, "COMMAND", command)
        (board,) = train(spec(tensorboard=True), tmp_path, environment, range(1, 4))
        assert "its process" in board.problem


def test_a_training_that_is_interrupted_continues_its_run(tmp_path, environment):
    with MlflowStandIn() as server:
        given = spec(mlflow=MlflowTarget(uri=server.uri), tensorboard=True)
        for _ in range(3):
            with pytest.raises(SystemExit):
                end_with(SystemExit(143), given, tmp_path, environment)
            metrics(tmp_path).unlink()
        train(given, tmp_path, environment, range(1, 12))
        points = [step for name, step, _ in server.only_points() if name == "train/loss"]
    assert sorted(points) == list(range(1, 12))


def test_a_training_that_fails_for_good_ends_its_run_as_failed(tmp_path, environment):
    with MlflowStandIn() as server:
        given = spec(mlflow=MlflowTarget(uri=server.uri))
        with pytest.raises(InputError):
            end_with(InputError("LossNotFinite", "the loss is nan"), given, tmp_path, environment)
        assert server.only_run()["status"] == "FAILED"


def test_only_the_first_process_has_trackers(tmp_path, environment):
    with following(spec(tensorboard=True), tmp_path, environment, first=False) as tracked:
        assert tracked.runs() == ()


def test_settings_and_digests_are_told_and_no_texts_of_overrides(tmp_path):
    about = describe(spec(tensorboard=True), tmp_path, "tensorboard")
    assert about.run == "0f3a11c2-5d1e9a7745aa0c31"
    assert about.settings["learningRate"] == 1e-4
    assert about.settings["method.type"] == "full"
    assert about.settings["betas"] == "0.9, 0.95"
    assert about.settings["overrides.seed"] == 7
    assert "sk-1234" not in about.to_json()
    assert about.digests["modelsafety.dev/inputs"] == "5d1e9a7745aa0c31ff"


def test_a_tracker_knows_no_secret_but_its_own():
    targets = TrackingTargets(
        mlflow=MlflowTarget(uri="https://m", token_env="SAFETY_MLFLOW_TOKEN"),
        wandb=WandbTarget(api_key_env="SAFETY_WANDB_API_KEY"),
    )
    given = {"SAFETY_MLFLOW_TOKEN": "a\n", "SAFETY_WANDB_API_KEY": "b", "HF_TOKEN": "c", "HTTPS_PROXY": "d"}
    kept = {"HTTPS_PROXY": "d", "CUDA_VISIBLE_DEVICES": ""}
    assert tracker_environment(targets, "mlflow", given) == {"SAFETY_MLFLOW_TOKEN": "a"} | kept
    assert tracker_environment(targets, "wandb", given) == {"SAFETY_WANDB_API_KEY": "b"} | kept
    assert tracker_environment(targets, "tensorboard", given) == kept
