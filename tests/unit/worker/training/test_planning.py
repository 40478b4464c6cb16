"""What is refused before a model is loaded, and how many steps a training takes."""

import pytest

from safety_records.finetune_stages import TrainStage
from safety_worker.errors import InputError
from safety_worker.training.planning import plan_training, scheduler_arguments


def stage(**changes):
    values = {
        "namespace": "n",
        "kind": "SafetyFinetune",
        "name": "f",
        "inputs_hash": "h",
        "root": "file:///r",
        "out": "o",
        "model": "m",
        "train": "t/train.jsonl",
        "epochs": 2.0,
        "learning_rate": 1e-4,
        "global_batch": 8,
        "micro_batch": 2,
        "max_sequence_length": 128,
        "precision": "fp32",
        "checkpoint_steps": 20,
        "checkpoint_keep": 3,
        "validation_steps": 20,
        "device": "cpu",
        "nodes": 1,
    }
    return TrainStage(**{**values, **changes})


@pytest.mark.parametrize(
    ("rows", "changes", "steps"),
    [
        (80, {}, 20),
        (81, {}, 22),
        (8, {"epochs": 1.0}, 1),
        (100, {"epochs": None, "steps": 40}, 40),
        (100, {"epochs": 0.5}, 7),
    ],
)
def test_steps_follow_from_rows_and_epochs(rows, changes, steps):
    assert plan_training(stage(**changes), rows, 2048, 1).steps == steps


def test_every_row_is_seen_in_whole_epochs():
    plan = plan_training(stage(epochs=1.0), 83, 2048, 1)
    assert plan.steps * 8 >= 83
    assert plan.epochs == 1.0


def test_processes_share_the_global_batch():
    assert plan_training(stage(), 100, 2048, 2).accumulation == 2
    assert plan_training(stage(), 100, 2048, 4).accumulation == 1


@pytest.mark.parametrize(
    ("changes", "rows", "length", "world", "reason", "names"),
    [
        ({}, 7, 2048, 1, "TooFewRows", "batch.global"),
        ({}, 100, 64, 1, "SequenceTooLong", "batch.maxSequenceLength"),
        ({}, 100, 2048, 3, "InvalidBatch", "batch.micro"),
        ({"micro_batch": 16}, 100, 2048, 1, "InvalidBatch", "batch.global"),
        ({"epochs": None}, 100, 2048, 1, "InvalidSchedule", "schedule"),
        ({"epochs": None, "steps": 5, "warmup_steps": 6}, 100, 2048, 1, "InvalidSchedule", "warmupSteps"),
        ({"epochs": 0.0}, 100, 2048, 1, "InvalidSchedule", "step"),
    ],
)
def test_impossible_plans_are_refused_with_the_field(*, changes, rows, length, world, reason, names):
    with pytest.raises(InputError) as caught:
        plan_training(stage(**changes), rows, length, world)
    assert caught.value.reason == reason
    assert names in caught.value.message


def test_a_model_of_unknown_length_takes_any_sequence():
    assert plan_training(stage(max_sequence_length=9999), 100, None, 1).steps == 26


@pytest.mark.parametrize(
    ("decay", "name"),
    [("cosine", "cosine_with_min_lr"), ("linear", "polynomial"), ("constant", "constant_with_warmup")],
)
def test_each_decay_has_a_scheduler(decay, name):
    assert scheduler_arguments(stage(decay=decay))["lr_scheduler_type"] == name
