"""A process's place among those that train together."""

import pytest

from safety_worker.errors import InfrastructureError
from safety_worker.training import ranks
from safety_worker.training.ranks import (
    Node,
    ProcessRank,
    find_node,
    find_rank,
    rendezvous_variables,
    threads_of_each,
)


def test_one_node_needs_no_rendezvous():
    place = find_rank(1, {})
    assert place == (0, 1, 0)
    assert place.is_first
    assert rendezvous_variables(place, find_node(1, {})) == {}


def test_the_index_of_the_job_is_the_rank_where_a_pod_has_one_process():
    environment = {"JOB_COMPLETION_INDEX": "2", "MASTER_ADDR": "train-0.train"}
    place = find_rank(4, environment)
    assert place == (2, 4, 0)
    variables = rendezvous_variables(place, find_node(4, environment))
    assert variables["RANK"] == "2"
    assert variables["WORLD_SIZE"] == "4"
    assert variables["MASTER_ADDR"] == "train-0.train"
    assert variables["MASTER_PORT"] == "29500"


def test_what_a_launcher_says_goes_first():
    environment = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "JOB_COMPLETION_INDEX": "7"}
    place = find_rank(1, environment)
    assert place == ProcessRank(1, 2, 1)
    assert not place.is_first


def test_a_single_node_is_on_this_machine_whatever_index_its_job_gives_it():
    assert find_node(1, {"JOB_COMPLETION_INDEX": "0", "MASTER_ADDR": "x"}) == Node()


def test_several_nodes_without_rendezvous_say_what_is_missing():
    with pytest.raises(InfrastructureError, match=r"^NoRendezvous: .*MASTER_ADDR"):
        find_rank(2, {"JOB_COMPLETION_INDEX": "0"})


@pytest.mark.parametrize(("processes", "threads"), [(1, 7), (2, 3), (10**6, 1)])
def test_processes_share_the_cpus_of_their_container_not_those_of_its_node(monkeypatch, processes, threads):
    monkeypatch.setattr(ranks, "usable_cpus", lambda: 7)
    assert threads_of_each(processes) == threads
