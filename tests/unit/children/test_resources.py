"""Requests and limits: defaults merge name by name, contradictions give way, ratios make limits."""

from decimal import Decimal

import pytest

from safety_operator.api.common import Resources
from safety_operator.api.pods import LimitRatio
from safety_operator.api.quantities import amount
from safety_operator.children.resources import ResourceSet, Wanted

DEFAULT = ResourceSet({"cpu": "2", "memory": "16Gi"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", "0.5"),
        (4, "4"),
        ("1.5", "1.5"),
        ("1e3", "1000"),
        ("12E-1", "1.2"),
        ("2Ki", "2048"),
        ("1.5Gi", str(3 * 2**29)),
        ("3G", "3000000000"),
        ("7E", "7000000000000000000"),
        ("100n", "0.0000001"),
    ],
)
def test_a_quantity_is_read_as_kubernetes_reads_it(text, value):
    assert amount(text) == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", "much", "1.2.3", "Gi", "1 Gi", "1gi", ".", " 1", "1\n", "1e99999999999"]
)
def test_what_is_no_quantity_has_no_value(text):
    assert amount(text) is None


def settle(own=None, of_role=None, default=DEFAULT, gpus=0):
    layers = [Resources.model_validate(layer) if layer is not None else None for layer in (own, of_role)]
    return Wanted(default, layers[0], gpus).settle(layers[1]).manifest()


def test_own_cpu_and_memory_leave_the_gpus():
    assert settle({"requests": {"cpu": "8", "memory": "64Gi"}}, gpus=4) == {
        "requests": {"cpu": "8", "memory": "64Gi"},
        "limits": {"nvidia.com/gpu": 4},
    }


def test_one_name_leaves_the_others_at_their_defaults():
    assert settle({"requests": {"memory": "20Gi"}})["requests"] == {"cpu": "2", "memory": "20Gi"}
    assert settle({"limits": {"memory": "20Gi"}}) == {
        "requests": {"cpu": "2", "memory": "16Gi"},
        "limits": {"memory": "20Gi"},
    }


def test_the_containers_own_stands_over_the_roles():
    role = {"requests": {"cpu": "3", "memory": "3Gi"}, "limits": {"cpu": "9"}}
    assert settle({"requests": {"memory": "4Gi"}}, role) == {
        "requests": {"cpu": "3", "memory": "4Gi"},
        "limits": {"cpu": "9"},
    }


def test_a_default_request_above_a_given_limit_gives_way():
    assert settle({"limits": {"cpu": "500m"}}) == {
        "requests": {"cpu": "500m", "memory": "16Gi"},
        "limits": {"cpu": "500m"},
    }


def test_a_default_limit_below_a_given_request_gives_way():
    rails = ResourceSet({"memory": "256Mi"}, {"memory": "1Gi"})
    assert settle({"requests": {"memory": "2Gi"}}, default=rails) == {
        "requests": {"memory": "2Gi"},
        "limits": {"memory": "2Gi"},
    }


@pytest.mark.parametrize(
    "name",
    [
        "nvidia.com/gpu",
        "nvidia.com/mig-1g.10gb",
        "nvidia.com/gpu.shared",
        "amd.com/gpu",
        "gpu.intel.com/i915",
    ],
)
def test_accelerators_that_are_named_are_not_asked_for_twice(name):
    assert settle({"limits": {name: 1}}, gpus=1)["limits"] == {name: 1}


def test_a_network_adapter_is_no_accelerator():
    assert settle({"limits": {"rdma/hca": 1}}, gpus=2)["limits"] == {"rdma/hca": 1, "nvidia.com/gpu": 2}


def test_what_is_never_overcommitted_gets_its_request_as_limit():
    found = settle({"requests": {"nvidia.com/gpu": 2, "hugepages-2Mi": "1Gi"}}, gpus=2)
    assert found["limits"] == {"nvidia.com/gpu": 2, "hugepages-2Mi": "1Gi"}


def test_a_ratio_makes_limits_where_there_are_none():
    given = ResourceSet({"cpu": "100m", "memory": "1Gi"}, {"cpu": "2"})
    ratio = LimitRatio(cpu="10", memory="1.5")
    assert given.limited(ratio).limits == {"cpu": "2", "memory": "1536Mi"}
    assert ResourceSet({"cpu": "333m", "memory": "1000"}).limited(ratio).limits == {
        "cpu": "3330m",
        "memory": "1Mi",
    }


def test_limits_by_a_ratio_are_written_as_the_api_server_writes_them():
    given = ResourceSet({"cpu": "400m", "memory": "5Gi"}).limited(LimitRatio(cpu="10", memory="4"))
    assert given.limits == {"cpu": "4", "memory": "20Gi"}


def test_without_a_ratio_there_are_no_limits():
    assert ResourceSet({"cpu": "1"}).limited(None).limits == {}
    assert ResourceSet({"cpu": "1"}).limited(LimitRatio(memory="2")).limits == {}
