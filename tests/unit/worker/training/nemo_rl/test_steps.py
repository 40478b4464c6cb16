"""Steps by whole batches, and what is refused before a GPU is asked for."""

import pytest
from tests.unit.worker.training.nemo_rl.nemo import stage

from safety_worker.errors import InputError
from safety_worker.training.nemo_rl.steps import plan_steps


@pytest.mark.parametrize(
    ("rows", "changes", "steps", "per_epoch"),
    [
        (390, {}, 40, 24),
        (31, {"steps": None, "epochs": 3.0, "warmup_steps": 0}, 3, 1),
        (40, {"steps": None, "epochs": 0.75, "warmup_steps": 0}, 2, 2),
    ],
)
def test_the_last_partial_batch_of_an_epoch_makes_no_step(rows, changes, steps, per_epoch):
    plan = plan_steps(stage(**changes), rows, None)
    assert (plan.steps, plan.steps_per_epoch) == (steps, per_epoch)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": 15}, "TooFewRows"),
        ({"max_length": 4096}, "SequenceTooLong"),
        ({"warmup_steps": 41}, "InvalidSchedule"),
        ({"best": "validation-loss"}, "NoValidationRows"),
        ({"early_stop_after": 3}, "NoValidationRows"),
    ],
)
def test_what_cannot_be_trained_is_refused(changes, reason):
    rows, length = changes.pop("rows", 390), changes.pop("max_length", None)
    with pytest.raises(InputError) as caught:
        plan_steps(stage(**changes), rows, length)
    assert caught.value.reason == reason
