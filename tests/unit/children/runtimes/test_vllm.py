"""What the environment of vLLM depends on."""

import pytest

from safety_operator.children.resources import ResourceSet
from safety_operator.children.runtimes.vllm import asks_for_one_cpu


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
