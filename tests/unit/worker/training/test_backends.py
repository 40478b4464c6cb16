"""The table of training backends."""

from importlib.util import find_spec
from typing import get_args

from safety_records.training import TrainingBackend
from safety_worker.training.backends import BACKENDS


def test_every_backend_of_the_records_has_a_package_in_the_worker() -> None:
    assert set(BACKENDS) == set(get_args(TrainingBackend))
    assert all(find_spec(target.partition(":")[0]) for target in BACKENDS.values())
