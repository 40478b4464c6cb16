"""A complete configuration of NeMo-RL from the settings of a training, and what of it is refused."""

import re

import pytest
from tests.unit.worker.training.nemo_rl.nemo import stage

from safety_records.nemo_rl.errors import ConfigurationError
from safety_records.nemo_rl.rendering import Places, Steps, lora, schedulers
from safety_records.nemo_rl.versions import check_early, configure
from safety_records.training import TrainMethod

PLACES = Places("/a/m", "/a/o/train.jsonl", "/a/o/validation.jsonl", "checkpoints", "logs")


def rendered(places=PLACES, **changes):
    return configure(stage(**changes), Steps(40, 24), places)


def test_the_blueprints_settings_become_the_keys_that_the_release_reads():
    tree = rendered(best="validation-loss")
    assert tree["sft"]["max_num_steps"] == 40
    assert tree["sft"]["max_num_epochs"] == 2  # 24 steps an epoch
    assert tree["checkpointing"]["metric_name"] == "val:val_loss"
    assert tree["checkpointing"]["keep_top_k"] == 3
    policy = tree["policy"]
    assert policy["optimizer"]["kwargs"]["betas"] == [0.9, 0.95]
    assert policy["scheduler"][-1] == {"milestones": [20]}
    assert policy["scheduler"][1]["kwargs"] == {"T_max": 20, "eta_min": 5e-08}
    assert policy["precision"] == "bfloat16"
    assert tree["cluster"] == {"gpus_per_node": 8, "num_nodes": 1}


def test_without_validation_rows_nothing_is_validated():
    tree = rendered(places=PLACES._replace(validation=""))
    assert tree["sft"]["val_period"] == -1
    assert not tree["sft"]["val_at_end"]
    assert tree["data"]["validation"] is None
    assert tree["checkpointing"]["metric_name"] is None


def test_an_early_stop_goes_by_the_loss_that_checkpoints_record():
    assert rendered(early_stop_after=2)["checkpointing"]["metric_name"] == "val:val_loss"


@pytest.mark.parametrize(
    ("changes", "names", "milestones"),
    [
        ({"decay": "cosine"}, ["LinearLR", "CosineAnnealingLR"], [20]),
        ({"decay": "linear"}, ["LinearLR", "LinearLR"], [20]),
        ({"decay": "constant", "warmup_steps": 0}, ["ConstantLR"], []),
        ({"warmup_steps": 40}, ["LinearLR"], []),
    ],
)
def test_a_schedule_ends_with_the_steps_between_its_parts(changes, names, milestones):
    *parts, last = schedulers(stage(**changes), 40)
    assert [part["name"].rpartition(".")[2] for part in parts] == names
    assert last == {"milestones": milestones}


def test_adapters_are_named_by_patterns_over_whole_paths():
    named = lora(TrainMethod(type="lora", target_modules=("q_proj", "lm_head")))
    assert named["target_modules"] == [r"*\.q_proj", "*lm_head"]
    assert named["exclude_modules"] == []
    every = lora(TrainMethod(type="lora"))
    assert (every["target_modules"], every["exclude_modules"]) == ([], ["lm_head"])
    assert not every["match_all_linear"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"policy.optimiser.name": "x"}, "has no policy.optimiser.name"),
        ({"policy.dtensor_cfg.tensor_paralel_size": 2}, "tensor_paralel_size: NeMo-RL knows no such key"),
        ({"policy.dtensor_cfg.tensor_parallel_size": "2"}, "policy.dtensor_cfg.tensor_parallel_size: "),
        ({"policy.optimizer.kwargs.lrr": 1.0}, "torch.optim.AdamW has no such argument"),
        ({"checkpointing.checkpoint_dir": "/tmp"}, "cannot be set here"),
        ({"policy.tokenizer.chat_template": "default"}, "cannot be set here"),
        ({"data.add_eos": True}, "cannot be set here"),
        ({"sft.seed": "${cluster.num_nodes}"}, "refers to another key"),
        ({"policy.dtensor_cfg.tensor_parallel_size": 3}, "no multiple of the 3"),
        ({"sft.val_global_batch_size": 12}, "sft.val_global_batch_size 12"),
        ({"policy.dtensor_cfg.lora_cfg.enabled": True}, "Field required"),
    ],
)
def test_an_override_that_nemo_rl_would_ignore_or_stop_at_is_refused(given, words):
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        rendered(overrides=given)


def test_an_override_of_a_known_key_takes_the_place_of_what_was_rendered():
    given = {"policy.dtensor_cfg.tensor_parallel_size": 2, "policy.dtensor_cfg.cpu_offload": True}
    tree = rendered(overrides=given)
    assert tree["policy"]["dtensor_cfg"]["tensor_parallel_size"] == 2
    assert tree["policy"]["dtensor_cfg"]["cpu_offload"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"device": "cpu"}, "NoGpu"),
        ({"early_stop_after": 3, "validation_steps": 30}, "InvalidSchedule"),
        ({"best": "validation-loss", "validation_steps": 15}, "InvalidSchedule"),
        ({"micro_batch": 4}, "InvalidBatch"),
        ({"overrides": {"policy.dtensor_cfg.tensor_parallel_size": 3}}, "InvalidOverrides"),
    ],
)
def test_what_settings_alone_show_to_be_wrong_is_told_before_rows_are_known(changes, reason):
    with pytest.raises(ConfigurationError) as caught:
        check_early(stage(**{"steps": None, "epochs": 1.0, "warmup_steps": 0} | changes))
    assert caught.value.reason == reason


def test_settings_that_fit_are_accepted_before_rows_are_known():
    check_early(stage())
    check_early(stage(steps=None, epochs=0.5))


def test_a_batch_that_the_copies_of_the_model_cannot_share_is_refused():
    with pytest.raises(ConfigurationError, match=r"batch.global 16 is no multiple of 32"):
        rendered(micro_batch=4)
