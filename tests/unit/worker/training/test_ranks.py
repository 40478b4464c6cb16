"""A pod's place among those that train together."""

import pytest

from safety_worker.errors import InfrastructureError
from safety_worker.training.ranks import find_rank, rendezvous_variables


def test_one_node_needs_no_rendezvous():
    place = find_rank(1, {})
    assert place == (0, 1)
    assert rendezvous_variables(place, {}) == {}


def test_the_index_of_the_job_is_the_rank():
    environment = {"JOB_COMPLETION_INDEX": "2", "MASTER_ADDR": "train-0.train"}
    place = find_rank(4, environment)
    assert place == (2, 4)
    variables = rendezvous_variables(place, environment)
    assert variables["RANK"] == "2"
    assert variables["WORLD_SIZE"] == "4"
    assert variables["MASTER_ADDR"] == "train-0.train"


def test_what_torchrun_says_goes_first():
    environment = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "JOB_COMPLETION_INDEX": "7"}
    assert find_rank(1, environment) == (1, 2)


def test_several_nodes_without_rendezvous_say_what_is_missing():
    with pytest.raises(InfrastructureError, match="MASTER_ADDR"):
        find_rank(2, {"JOB_COMPLETION_INDEX": "0"})
