"""The train stage in NeMo-RL's image, with a stand-in for NeMo-RL that writes what it writes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.worker.training.nemo_rl.events import record
from tests.unit.worker.training.nemo_rl.nemo import checkpoint, stage
from tests.unit.worker.training.tracking.mlflow_stand_in import MlflowStandIn
from tests.until import until

from safety_records.finetune_stages import TrainStage
from safety_records.tracking import MlflowTarget, TrackingTargets
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.ray_launcher import LaunchError
from safety_worker.training.event_file import EventFile
from safety_worker.training.nemo_rl import checkpoints, command, yaml_file
from safety_worker.training.nemo_rl.image import WORKER
from safety_worker.training.nemo_rl.train import TrainingRun
from safety_worker.training.tracking.tensorboard_files import FILE_NAME

CLUSTER = SimpleNamespace(address="127.0.0.1:1", check=lambda: None, check_after_failure=lambda: None)
STAND_IN = """
import json, os, pathlib, shutil, sys, yaml
tree = yaml.safe_load(open(sys.argv[2]))
folder = pathlib.Path(tree["checkpointing"]["checkpoint_dir"])
assert pathlib.Path.cwd().name == "home"
assert os.environ["HF_HUB_OFFLINE"] == "1" and "HF_TOKEN" not in os.environ
print("started at", sorted(path.name for path in folder.glob("step_*")))
if pathlib.Path("events").exists():
    logs = pathlib.Path(tree["logger"]["log_dir"]) / "exp_001/tensorboard"
    logs.mkdir(parents=True)
    shutil.copyfile("events", logs / "events.out.1")
source, step = pathlib.Path("checkpoint"), int(pathlib.Path("reaches").read_text())
shutil.copytree(source, folder / f"step_{step}")
info = json.dumps({"total_steps": step, "val:val_loss": 0.5})
(folder / f"step_{step}/training_info.json").write_text(info)
print("ValueError: the last words")
sys.exit(int(pathlib.Path("code").read_text()))
"""


@pytest.fixture
def place(tmp_path):
    """Image, prepared training, and what the stand-in is to do: reach step 4 with code 0."""
    home = tmp_path / "home"
    (home / "examples").mkdir(parents=True)
    (home / "examples/run_sft.py").write_text(STAND_IN, encoding="utf-8")
    (home / "code").write_text("0", encoding="utf-8")
    (home / "reaches").write_text("4", encoding="utf-8")
    checkpoint(tmp_path / "made", 4).rename(home / "checkpoint")
    python = tmp_path / "venvs" / WORKER / "bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n", encoding="utf-8")
    python.chmod(0o755)
    prepared = tmp_path / "artifacts/prepared"
    prepared.mkdir(parents=True)
    tree = {"checkpointing": {"checkpoint_dir": "checkpoints"}, "logger": {"log_dir": "logs"}}
    yaml_file.write(prepared / "config.yaml", tree)
    plan = {
        "version": "0.7.0",
        "plan": {"steps": 4, "steps_per_epoch": 2},
        "train": {"rows": 8, "tokens": 20, "trained": 10},
        "validation": None,
    }
    (prepared / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    return tmp_path


def training(place, tracking=None, **changes):
    fields = stage(root=f"file://{place / 'artifacts'}", **changes).model_dump(exclude={"stage", "nemo_rl"})
    spec = TrainStage(**fields, prepared="prepared", tracking=tracking)
    variables = {
        "PYTHONPATH": os.pathsep.join(str(Path(name).resolve()) for name in ("operator", "images/worker")),
        "PATH": os.environ["PATH"],
        "HF_TOKEN": "secret",
        "NEMO_RL_HOME": str(place / "home"),
        "NEMO_RL_VENV_DIR": str(place / "venvs"),
    }
    return TrainingRun(spec, place / "artifacts", variables)


def output(place, number=1):
    return (place / f"artifacts/o.work/output-{number}.log").read_text(encoding="utf-8")


def test_a_training_that_reached_its_last_step_leaves_its_result(place, capsys):
    run = training(place)
    assert run.drive(CLUSTER) == 0
    out = place / "artifacts/o"
    done = json.loads((out / "trained.json").read_text(encoding="utf-8"))
    assert done == {"steps": 4, "last": "step_4", "best": "step_4"}
    assert run.result.training.step == 4
    assert run.result.training.resumes == 0
    assert run.result.training.trained_share == 0.5
    assert run.result.training.processes == 8
    assert command.load_result(out, "h") == run.result
    assert command.load_result(out, "other") is None
    assert "the last words" in output(place)
    assert "the last words" not in capsys.readouterr().out


def test_the_numbers_of_nemo_rl_reach_the_trackers_by_their_own_processes(place):
    events = [record(step, train__loss=1 / step, train__lr=0.25) for step in range(1, 5)]
    events += [record(4, validation__val_loss=0.5)]
    events += [record(step, timing__train__policy_training=4.0) for step in range(1, 5)]
    (place / "home/events").write_bytes(b"".join(events))
    with MlflowStandIn() as server:
        targets = TrackingTargets(mlflow=MlflowTarget(uri=server.uri), tensorboard=True)
        run = training(place, tracking=targets)
        run.drive(CLUSTER)
    mlflow, board = run.result.training.tracking
    assert (mlflow.run, mlflow.problem, server.only_run()["status"]) == (
        server.only_run()["id"],
        "",
        "FINISHED",
    )
    losses = [(step, value) for name, step, value in server.only_points() if name == "train/loss"]
    assert losses == [(step, pytest.approx(1 / step)) for step in range(1, 5)]
    assert [(step, value) for name, step, value in server.only_points() if name == "eval/loss"] == [(4, 0.5)]
    scalars = EventFile(place / "artifacts" / board.url / FILE_NAME).new_scalars()
    assert [item.step for item in scalars if item.tag == "train/loss"] == [1, 2, 3, 4]


def test_a_lost_node_is_told_and_not_what_nemo_rl_says_of_it(place):
    (place / "home/reaches").write_text("2", encoding="utf-8")

    def lost():
        raise LaunchError("RayNodeLost", "1 of 2 nodes are left", 143)

    cluster = SimpleNamespace(**vars(CLUSTER) | {"check_after_failure": lost})
    with pytest.raises(LaunchError, match="RayNodeLost"):
        training(place).drive(cluster)


def test_a_code_of_success_without_the_last_step_is_none(place):
    (place / "home/reaches").write_text("2", encoding="utf-8")
    with pytest.raises(
        InfrastructureError, match="ended with code 0 after 2 of 4 steps: ValueError"
    ) as caught:
        training(place).drive(CLUSTER)
    assert caught.value.reason == "TrainingIncomplete"


def test_a_code_of_failure_after_the_last_step_is_none_either(place):
    (place / "home/code").write_text("1", encoding="utf-8")
    assert training(place).drive(CLUSTER) == 0


def test_the_next_start_continues_from_what_is_whole_and_counts_it(place):
    folder = place / "artifacts/o.work/checkpoints"
    checkpoint(folder, 2)
    (folder / "tmp_step_3").mkdir()
    (checkpoint(folder, 3) / "training_info.json").unlink()
    run = training(place)
    run.drive(CLUSTER)
    assert "started at ['step_2']" in output(place)
    assert run.result.training.resumes == 1
    assert run.result.warnings == ("checkpoint step_3 is not used: it has no readable training_info.json",)


def test_a_training_that_is_done_starts_nothing(place):
    checkpoint(place / "artifacts/o.work/checkpoints", 4)
    (place / "home/examples/run_sft.py").write_text("raise SystemExit('started')", encoding="utf-8")
    run = training(place)
    run.drive(CLUSTER)
    assert run.result.training.steps == 4
    assert not (place / "artifacts/o.work/output-1.log").exists()


def test_a_checkpoint_that_nemo_rl_cannot_read_gives_way_to_the_one_before(place):
    folder = place / "artifacts/o.work/checkpoints"
    checkpoint(folder, 1)
    checkpoint(folder, 2)
    script = place / "home/examples/run_sft.py"
    script.write_text("raise SystemExit('torch.distributed.checkpoint.api.CheckpointException: rank 0')")
    with pytest.raises(InfrastructureError, match="could not read step_2: the next try continues") as caught:
        training(place).drive(CLUSTER)
    assert caught.value.reason == "CheckpointFailed"
    script.write_text(STAND_IN, encoding="utf-8")
    run = training(place)
    run.drive(CLUSTER)
    assert "started at ['step_1']" in output(place, 2)
    assert run.result.warnings == ("checkpoint step_2 is not used: NeMo-RL could not read it",)


DISK_FULL = """
import pathlib, sys, yaml
folder = pathlib.Path(yaml.safe_load(open(sys.argv[2]))["checkpointing"]["checkpoint_dir"])
(folder / "tmp_step_4/policy").mkdir(parents=True)
raise OSError(28, "No space left on device", "shard-00001-model-00001-of-00001.safetensors")
"""


def test_a_disk_that_is_full_in_a_checkpoint_is_told_and_the_half_of_it_is_removed(place):
    folder = place / "artifacts/o.work/checkpoints"
    checkpoint(folder, 2)
    script = place / "home/examples/run_sft.py"
    script.write_text(DISK_FULL, encoding="utf-8")
    with pytest.raises(InfrastructureError, match=r"after 2 of 4 steps: no space left\. Free some") as caught:
        training(place).drive(CLUSTER)
    assert caught.value.reason == "ArtifactStoreFull"
    script.write_text(STAND_IN, encoding="utf-8")
    training(place).drive(CLUSTER)
    assert sorted(path.name for path in folder.iterdir()) == ["step_2", "step_4"]


SAVES_AND_WAITS = """
import json, pathlib, shutil, sys, time, yaml
folder = pathlib.Path(yaml.safe_load(open(sys.argv[2]))["checkpointing"]["checkpoint_dir"])
for step, loss in json.loads(pathlib.Path("losses").read_text()):
    shutil.copytree("checkpoint", folder / f"step_{step}")
    info = json.dumps({"total_steps": step, "val:val_loss": loss})
    (folder / f"step_{step}/training_info.json").write_text(info)
time.sleep(600)
"""


def test_a_training_without_gain_ends_where_it_was_measured_and_is_a_success(place):
    home = place / "home"
    (home / "examples/run_sft.py").write_text(SAVES_AND_WAITS, encoding="utf-8")
    (home / "losses").write_text("[[1, 0.5], [2, 0.6], [3, 0.7]]", encoding="utf-8")
    run = training(place, early_stop_after=1)
    assert run.drive(CLUSTER) == 0
    done = json.loads((place / "artifacts/o/trained.json").read_text(encoding="utf-8"))
    assert (done["steps"], done["last"]) == (2, "step_2")
    assert (run.result.training.step, run.result.training.steps) == (2, 4)
    assert run.result.training.stopped_early
    names = sorted(path.name for path in (place / "artifacts/o.work/checkpoints").iterdir())
    assert names == ["step_1", "step_2"]

    again = training(place, early_stop_after=1)
    (home / "examples/run_sft.py").write_text("raise SystemExit('started')", encoding="utf-8")
    assert again.drive(CLUSTER) == 0
    assert again.result.training.stopped_early


def test_an_early_end_whose_checkpoint_is_spoilt_meanwhile_is_tried_again(place, monkeypatch):
    checkpoint(place / "artifacts/o.work/checkpoints", 2, 0.6)
    (place / "artifacts/o.work/validations.json").write_text('{"1": 0.5}', encoding="utf-8")
    monkeypatch.setattr(checkpoints, "cut_after", lambda _folder, _step: None)
    with pytest.raises(InfrastructureError, match="CheckpointLost"):
        training(place, early_stop_after=1).drive(CLUSTER)


def test_sigterm_before_the_training_begins_ends_with_the_code_that_does_not_count(place):
    """As process 1 of a pod, one that has not asked for the signal would not even hear of it."""
    python = place / "venvs" / WORKER / "bin/python"
    python.write_text("#!/bin/sh\ntouch started\nexec sleep 600\n", encoding="utf-8")
    fields = stage(root=f"file://{place / 'artifacts'}").model_dump(exclude={"stage", "nemo_rl"})
    (place / "spec.json").write_text(TrainStage(**fields, prepared="prepared").to_json(), encoding="utf-8")
    variables = {
        "NEMO_RL_HOME": str(place / "home"),
        "NEMO_RL_VENV_DIR": str(place / "venvs"),
        "SAFETY_TERMINATION_LOG": str(place / "message"),
        "SAFETY_WITHOUT_GPU": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = (sys.executable, "-m", "safety_worker.training.nemo_rl", "--spec", str(place / "spec.json"))
    with subprocess.Popen(command, env=os.environ | variables) as process:
        try:
            until((place / "home/started").exists, "the workers' Python", 60)
            process.terminate()
            assert process.wait(60) == 143
        finally:
            process.kill()


def test_losses_of_checkpoints_that_are_gone_count_after_a_restart(place):
    folder = place / "artifacts/o.work/checkpoints"
    checkpoint(folder, 2, 0.6)
    (folder.parent / "validations.json").write_text('{"1": 0.5, "3": 0.1}', encoding="utf-8")
    run = training(place, early_stop_after=1)
    run.drive(CLUSTER)
    assert (run.result.training.step, run.result.training.stopped_early) == (2, True)


def test_a_validation_loss_that_is_no_number_ends_the_training(place):
    checkpoint(place / "artifacts/o.work/checkpoints", 2, float("nan"))
    with pytest.raises(InputError, match="the validation loss is nan at step 2: lower"):
        training(place).drive(CLUSTER)


@pytest.mark.parametrize("text", ["{}", json.dumps({"stage": "fetch"})])
def test_a_specification_of_another_stage_is_refused_with_a_record(tmp_path, monkeypatch, text):
    (tmp_path / "spec.json").write_text(text, encoding="utf-8")
    monkeypatch.setenv("SAFETY_TERMINATION_LOG", str(tmp_path / "message"))
    monkeypatch.setattr(command.ray_launcher, "end_at_sigterm", lambda: None)  # it is pytest's own process
    assert command.main(["--spec", str(tmp_path / "spec.json")]) == 42
    record = json.loads((tmp_path / "message").read_text(encoding="utf-8"))
    assert record["failure"]["reason"] == "InvalidSpecification"
