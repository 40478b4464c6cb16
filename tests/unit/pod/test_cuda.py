"""Why there is no CUDA, by what the driver's libraries say."""

import ctypes
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safety_pod import cuda
from safety_pod.cuda import find_trouble


def driver(version: int) -> Any:
    """Libcuda of a driver, with the version as CUDA counts it."""

    def get_version(found: Any) -> int:
        found._obj.value = version
        return 0

    return SimpleNamespace(cuDriverGetVersion=get_version)


def management(gpus: int = 1, starts: int = 0) -> Any:
    """NVML with a number of GPUs, or with the error that it starts with."""

    def count(found: Any) -> int:
        found._obj.value = gpus
        return 0

    def words(_code: int) -> bytes:
        return b"Driver/library version mismatch"

    return SimpleNamespace(
        nvmlInit_v2=lambda: starts,
        nvmlDeviceGetCount_v2=count,
        nvmlShutdown=lambda: 0,
        nvmlErrorString=words,
    )


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The driver's libraries of a node that is as it should be, for torch of CUDA 13.0."""
    found = {cuda.CUDA_LIBRARY: driver(13000), cuda.NVML_LIBRARY: management()}
    monkeypatch.setattr(cuda, "_load", found.get)
    monkeypatch.setattr(cuda, "torch_cuda", lambda: (13, 0))
    return found


def test_a_gpu_that_is_there_is_no_trouble(node: dict[str, Any]):
    assert find_trouble() is None


@pytest.mark.parametrize("version", [13000, 13010, 14000])
def test_a_driver_of_the_same_major_version_or_a_newer_one_will_do(node: dict[str, Any], version: int):
    node[cuda.CUDA_LIBRARY] = driver(version)
    assert find_trouble() is None


def test_a_driver_that_is_too_old_is_told_from_no_driver(node: dict[str, Any]):
    node[cuda.CUDA_LIBRARY] = driver(12080)
    trouble = find_trouble()
    assert trouble is not None
    assert trouble.reason == "CudaDriverTooOld"
    assert "up to 12.8, and this image needs 13.0. Update the driver to 580 or newer" in trouble.message
    del node[cuda.CUDA_LIBRARY]
    trouble = find_trouble()
    assert trouble is not None
    assert trouble.reason == "NoCudaDevice"
    assert "libcuda.so.1 is missing" in trouble.message


@pytest.mark.parametrize(
    ("library", "words"),
    [
        (management(gpus=0), "a driver, but no GPU"),
        (management(starts=18), r"Driver/library version mismatch \(NVML 18\)"),
        (None, "NVIDIA_DRIVER_CAPABILITIES"),
    ],
)
def test_a_driver_without_a_gpu_says_what_is_missing(node: dict[str, Any], library: Any, words: str):
    node[cuda.NVML_LIBRARY] = library
    trouble = find_trouble()
    assert trouble is not None
    assert trouble.reason == "NoCudaDevice"
    assert re.search(words, trouble.message)


def test_torch_of_another_platform_is_not_judged(node: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda, "torch_cuda", lambda: None)
    node.clear()
    assert find_trouble() is None


def test_an_engine_for_cpus_does_not_run_on_a_gpu_though_there_is_one(
    node: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "engine_cpu-1.2.dist-info").mkdir()
    (tmp_path / "engine_cpu-1.2.dist-info/METADATA").write_text("Name: engine-cpu\nVersion: 1.2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    trouble = find_trouble("engine")
    assert trouble is not None
    assert trouble.reason == "ImageWithoutCuda"
    assert "engine-cpu 1.2, which runs on CPUs only" in trouble.message
    assert find_trouble("another") is None


def test_the_driver_is_asked_through_the_loader():
    assert cuda._load("libsuch-there-is-none.so.1") is None
    assert isinstance(cuda._load("libc.so.6"), ctypes.CDLL)


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("cuda: Optional[str] = '13.0'", (13, 0)),
        ("cuda = '12.8'", (12, 8)),
        ("cuda: Optional[str] = None", None),
        ("__version__ = '2.13.0'", None),
    ],
)
def test_what_torch_was_built_for_is_read_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, version: tuple[int, int] | None
):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise RuntimeError\n")
    (tmp_path / "torch/version.py").write_text(f"{line}\nhip: Optional[str] = None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cuda.torch_cuda() == version
