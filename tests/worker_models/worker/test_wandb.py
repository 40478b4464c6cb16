"""Weights & Biases: the real client, in the tracker's own process, against a stand-in for the server."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.worker.training.tracking.runs import write_steps
from tests.unit.worker.training.tracking.wandb_stand_in import WandbStandIn

from safety_records.finetune_stages import TrainStage
from safety_records.tracking import TrackedRun, TrackingTargets, WandbTarget
from safety_worker.training.tracking.following import following

KEY = "5ec3e7" + "0" * 34  # the client wants forty characters
OUT = "team/safetyfinetune/hardened/0f3a11c2/train-5d1e9a7745aa0c31"
RUN = "0f3a11c2-5d1e9a7745aa0c31"


@pytest.fixture
def server() -> Iterator[WandbStandIn]:
    with WandbStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a trainer's pod: nothing of this machine's own settings of W&B."""
    paths = [str(Path(name).resolve()) for name in ("operator", "images/worker")]
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "SAFETY_WANDB_KEY": KEY,
    }


def spec(server: WandbStandIn) -> TrainStage:
    target = WandbTarget(project="hardening", base_url=server.uri, api_key_env="SAFETY_WANDB_KEY")
    return TrainStage(
        namespace="team",
        kind="SafetyFinetune",
        name="hardened",
        inputs_hash="5d1e9a7745aa0c31ff",
        root="file:///",
        out=OUT,
        model="team/models/m",
        train="team/blend/train.jsonl",
        learning_rate=1e-4,
        global_batch=4,
        micro_batch=1,
        max_sequence_length=128,
        precision="fp32",
        checkpoint_steps=2,
        checkpoint_keep=1,
        validation_steps=2,
        device="cpu",
        nodes=1,
        tracking=TrackingTargets(wandb=target),
    )


def train(spec: TrainStage, root: Path, environment: dict[str, str], steps: range) -> TrackedRun:
    """A training that writes these steps and ends; what its tracker said."""
    with following(spec, root, environment) as tracked:
        write_steps(root / f"{OUT}.work" / "metrics.jsonl", steps)
        tracked.end("finished")
        tracked.wait(600)  # it ends when all is sent; the client is slow on a loaded machine
        return tracked.runs()[0]


def steps_of(run: dict[str, Any], name: str) -> list[tuple[int, float]]:
    return [(line["_step"], line[name]) for line in run["lines"] if name in line]


def test_a_run_has_each_step_once_over_an_interruption(
    server: WandbStandIn, tmp_path: Path, environment: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    first = train(spec(server), tmp_path, environment, range(1, 8))
    assert (first.run, first.problem) == (RUN, "")
    assert first.url == f"{server.uri}/team/hardening/runs/{RUN}"
    (tmp_path / f"{OUT}.work" / "metrics.jsonl").unlink()
    train(spec(server), tmp_path, environment, range(1, 21))
    run = server.only_run()
    assert steps_of(run, "train/loss") == [(step, pytest.approx(1 / step)) for step in range(1, 21)]
    assert steps_of(run, "eval/loss") == [(10, 0.2), (20, 0.1)]
    assert (run["displayName"], run["project"], run["ended"]) == ("hardened", "hardening", 0)
    assert '"learningRate":{"value":0.0001}' in run["config"]
    assert KEY not in "".join(capfd.readouterr())
    assert "train.jsonl" not in run["config"]


def test_a_server_that_refuses_is_a_problem_that_quotes_nothing(
    server: WandbStandIn, tmp_path: Path, environment: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    server.refusal = 401
    found = train(spec(server), tmp_path, environment, range(1, 4))
    assert "check tracking.wandb" in found.problem
    assert KEY not in found.problem + "".join(capfd.readouterr())
