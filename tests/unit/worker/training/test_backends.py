"""The table of training backends."""

from importlib.util import find_spec
from typing import get_args

import pytest
from tests.unit.worker.training.test_planning import stage

from safety_records.training import TrainingBackend
from safety_worker.errors import InputError
from safety_worker.training.backends import BACKENDS
from safety_worker.training.trl.backend import check_overrides


def test_every_backend_of_the_records_has_a_package_in_the_worker() -> None:
    elsewhere = {"nemo-rl"}  # trains in an image of its own
    assert set(BACKENDS) | elsewhere == set(get_args(TrainingBackend))
    assert find_spec("safety_worker.training.nemo_rl.command")
    assert all(find_spec(target.partition(":")[0]) for target in BACKENDS.values())


@pytest.mark.parametrize("overrides", [{"max_steps": 3}, {"packing": True, "output_dir": "x"}])
def test_arguments_that_resuming_depends_on_cannot_be_overridden(overrides: dict[str, object]) -> None:
    check_overrides(stage(overrides={"packing": True, "lr_scheduler_type": "linear"}))
    with pytest.raises(InputError, match=f"overrides: {list(overrides)[-1]} cannot be set here"):
        check_overrides(stage(overrides=overrides))
