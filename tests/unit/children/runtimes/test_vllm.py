"""What the environment of vLLM depends on, and what it asks for."""

import pytest

from safety_operator.api.common import Resources, Serving
from safety_operator.children.resources import ResourceSet, Wanted
from safety_operator.children.runtimes.vllm import VLLM, asks_for_one_cpu


@pytest.mark.parametrize(
    ("requests", "limits", "one"),
    [
        ({"cpu": "400m"}, {}, True),
        ({"cpu": 1}, {}, True),
        ({"cpu": "1.0"}, {}, True),
        ({"cpu": "1001m"}, {}, False),
        ({"cpu": "400m"}, {"cpu": "2"}, False),
        ({"cpu": "4"}, {"cpu": "1"}, True),
        ({"cpu": "1e3m"}, {}, False),
        ({}, {}, False),
        ({"memory": "5Gi"}, {}, False),
    ],
)
def test_an_engine_that_asks_for_one_cpu_runs_one_thread(requests, limits, one):
    assert asks_for_one_cpu(ResourceSet(requests, limits)) is one


@pytest.mark.parametrize(
    ("serving", "cpus"),
    [
        (Serving(), "3"),
        (Serving(tensor_parallel_size=8), "10"),
        (Serving(tensor_parallel_size=2, args=["--pipeline-parallel-size=2"]), "6"),
    ],
)
def test_a_server_asks_for_a_cpu_for_each_gpus_process_and_two_more(serving, cpus):
    assert VLLM.asks_for("gpu", VLLM.gpus(serving)).requests["cpu"] == cpus


def test_cpus_that_the_spec_names_stand_over_those_of_processes():
    own = Resources(requests={"cpu": "500m"})
    assert Wanted(VLLM.asks_for("gpu", 8), own, 8).settle(None).requests["cpu"] == "500m"


def test_a_server_on_cpu_asks_for_what_was_measured():
    assert VLLM.asks_for("cpu", 0).requests["cpu"] == "400m"
