"""What NeMo-RL's files tell while it trains: progress, metrics, losses that are none, steps that hang."""

import struct

import pytest
from tests.unit.worker.training.nemo_rl.events import record

from safety_worker.errors import InfrastructureError, InputError
from safety_worker.training.event_file import EventFile
from safety_worker.training.nemo_rl.following import Course, Follower
from safety_worker.training.records import MetricsFile, read_metrics

STEP = b"\n========================= Step 1/9 =========================\n"


class Run:
    """A training in a folder, with a clock of its own."""

    def __init__(self, folder, first_step=0, timeout=None):
        self.folder, self.now, self.said = folder, 0.0, []
        self.output, self.metrics = folder / "output-1.log", folder / "metrics.jsonl"
        self.events = folder / "logs/exp_001/tensorboard/events.out.1"
        self.events.parent.mkdir(parents=True, exist_ok=True)
        self.follower = Follower(
            Course(first_step, 6, 4, 2.0, 0.5, 1, timeout),
            logs=folder / "logs",
            output=self.output,
            checkpoints=folder / "checkpoints",
            metrics=MetricsFile(self.metrics, first_step),
            report_progress=self.said.append,
            clock=lambda: self.now,
        )

    def write(self, data, path=None):
        with (path or self.events).open("ab") as stream:
            stream.write(data)


def step(number, loss=1.5):
    return record(number, train__loss=loss, train__lr=0.25, train__grad_norm=2.0) + record(
        number, train__global_valid_toks=100.0, timing__train__policy_training=4.0
    )


def test_a_record_that_is_not_whole_is_left_for_the_next_look(tmp_path):
    path, data = tmp_path / "events", record(300, train__loss=0.5)
    path.write_bytes(record(1, train__lr=0.25) + data[:-3])
    file = EventFile(path)
    assert file.new_scalars() == [(1, "train/lr", 0.25)]
    with path.open("ab") as stream:
        stream.write(data[-3:])
    assert file.new_scalars() == [(300, "train/loss", 0.5)]
    assert file.new_scalars() == []


def test_a_record_that_a_crash_has_spoilt_is_left_out(tmp_path):
    path, broken = tmp_path / "events", bytes([2 << 3 | 5, 0, 0])  # a number of four bytes that has two
    spoilt = struct.pack("<QI", len(broken), 0) + broken + struct.pack("<I", 0)
    path.write_bytes(spoilt + record(1, train__lr=0.25))
    assert EventFile(path).new_scalars() == [(1, "train/lr", 0.25)]


def test_steps_are_written_down_and_reported(tmp_path):
    run = Run(tmp_path)
    run.follower.look()
    run.write(step(1) + record(2, validation__val_loss=0.75) + step(2, loss=1.25))
    run.follower.look()
    first, second = read_metrics(run.metrics)
    assert first == {
        "step": 1, "epoch": 0.25, "loss": 1.5, "learning_rate": 0.25, "grad_norm": 2.0,
        "tokens_per_second": 50.0,
    }  # fmt: skip
    assert second["validation_loss"] == 0.75
    last = run.said[-1]
    assert (last.done, last.total, last.loss, last.validation_loss) == (2, 6, 1.25, 0.75)
    assert (last.tokens_per_second, last.resumes, last.epoch) == (50.0, 1, 0.5)
    assert (last.learning_rate, last.grad_norm, last.trained_share, last.mfu) == (0.25, 2.0, 0.5, None)


def test_steps_are_counted_by_the_output_while_numbers_are_held_back(tmp_path):
    run = Run(tmp_path, first_step=2)
    run.write(STEP + b"  Loss: 1.5\n" + STEP + b"half of a li", run.output)
    run.follower.look()
    assert run.said[-1].done == 3
    assert run.said[-1].loss is None


def test_numbers_that_a_kill_kept_from_the_metrics_are_taken_from_the_earlier_start(tmp_path):
    (tmp_path / "logs/exp_001/tensorboard").mkdir(parents=True)
    (tmp_path / "logs/exp_001/tensorboard/events.out.0").write_bytes(step(1) + step(2) + step(3))
    run = Run(tmp_path, first_step=2)
    run.follower.look()
    assert [line["step"] for line in read_metrics(run.metrics)] == [1, 2]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_training(tmp_path, number):
    run = Run(tmp_path)
    run.write(step(3, loss=number))
    with pytest.raises(InputError, match=r"the loss is .* at step 3: lower schedule.learningRate"):
        run.follower.look()


def test_a_loss_that_is_no_number_is_seen_in_the_output_first(tmp_path):
    run = Run(tmp_path)
    run.write(STEP + "  • Loss: nan\n".encode(), run.output)
    with pytest.raises(InputError, match="the loss is nan"):
        run.follower.look()


def test_a_step_that_takes_longer_than_it_may_is_told(tmp_path):
    run = Run(tmp_path, timeout=60)
    run.write(STEP, run.output)
    run.follower.look()
    run.now = 150
    run.follower.look()
    (tmp_path / "checkpoints/tmp_step_1").mkdir(parents=True)
    run.now = 250
    run.follower.look()  # it saves
    run.now = 430
    run.follower.look()
    run.now = 441
    with pytest.raises(InfrastructureError, match="stepTimeoutSeconds 60"):
        run.follower.look()


def test_a_step_that_hangs_again_and_again_is_a_persons_to_look_at(tmp_path):
    for kind in (InfrastructureError, InfrastructureError, InputError):
        run = Run(tmp_path, timeout=60)
        run.output.write_bytes(STEP)
        run.follower.look()
        run.now = 200
        with pytest.raises(kind) as caught:
            run.follower.look()
    assert caught.value.reason == "StepHangs"
    assert "3 times in a row: raise stepTimeoutSeconds" in caught.value.message


def test_loading_may_take_longer_than_a_step(tmp_path):
    run = Run(tmp_path, timeout=60)
    run.now = 3000
    run.follower.look()
    run.now = 3700
    with pytest.raises(InfrastructureError, match="after step 0"):
        run.follower.look()
