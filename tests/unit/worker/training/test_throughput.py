"""Arithmetic of training, against figures that others have published."""

from types import SimpleNamespace

import pytest

from safety_worker.training.throughput import (
    TERA,
    ModelSize,
    find_mfu,
    find_peak,
    flops_per_token,
    is_sparse,
)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA H20", 148),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA B200", 2250),
        ("NVIDIA L40S", 362),
        ("NVIDIA A10G", 70),
    ],
)
def test_peaks_are_those_of_the_data_sheets(name, peak):
    assert find_peak(name) == peak * TERA


@pytest.mark.parametrize(
    "name",
    [
        *("", "Tesla V100-SXM2-16GB", "AMD Instinct MI300X", "NVIDIA RTX A1000"),
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
    ],
)
def test_a_gpu_that_is_not_known_has_no_peak(name):
    assert find_peak(name) is None


def test_a_model_with_experts_is_sparse():
    assert is_sparse(SimpleNamespace(num_local_experts=8))
    assert not is_sparse(SimpleNamespace(num_experts=None, n_routed_experts=1))


def test_all_weights_cost_six_operations_and_frozen_ones_four():
    size = ModelSize(parameters=1000, trained=1000, layers=0, hidden=0)
    assert flops_per_token(size, 100) == 6000
    assert flops_per_token(size._replace(trained=0), 100) == 4000


def test_attention_grows_with_the_sequence():
    size = ModelSize(parameters=0, trained=0, layers=32, hidden=4096)
    assert flops_per_token(size, 8192) == 6 * 32 * 4096 * 8192


def test_half_the_peak_of_all_gpus_is_a_half():
    assert find_mfu(500.0, 2.0, 500.0, 4) == 0.5
    assert find_mfu(500.0, 2.0, None, 4) is None
