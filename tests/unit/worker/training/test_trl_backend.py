"""What the backend refuses before it loads anything."""

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.worker.training.test_planning import stage

from safety_records.trl_arguments import ELSEWHERE, OWNED
from safety_worker.errors import InputError
from safety_worker.training import ranks
from safety_worker.training.ranks import ProcessRank
from safety_worker.training.trl import backend
from safety_worker.training.trl.hanging import MAX_HANGS, hung


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = SimpleNamespace(cuda=SimpleNamespace(device_count=lambda: 1))
    monkeypatch.setitem(sys.modules, "torch", torch)  # type: ignore[arg-type]
    monkeypatch.setattr(os, "environ", {"RANK": "0"})
    monkeypatch.setattr(backend, "UNUSED", ())


@pytest.mark.parametrize("name", sorted(OWNED | ELSEWHERE.keys()))
def test_arguments_that_resuming_depends_on_are_not_the_users(name: str) -> None:
    with pytest.raises(InputError, match=rf"^InvalidOverrides: overrides: {name} cannot be set here"):
        backend.check_overrides(stage(overrides={name: 1}))


@pytest.mark.usefixtures("one_gpu")
@pytest.mark.parametrize(("limit", "threads"), [(2, "2"), (64, None)])
def test_a_limit_of_cpus_is_one_of_threads(
    limit: int, threads: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {*range(64)})
    for module in (backend, ranks):
        monkeypatch.setattr(module, "usable_cpus", lambda: limit)
    backend.use_processes(ProcessRank(), stage())
    assert os.environ.get("OMP_NUM_THREADS") == threads


@pytest.mark.usefixtures("one_gpu")
def test_fewer_gpus_than_processes_are_told() -> None:
    with pytest.raises(InputError, match=r"^GpusMissing: .*needs 2 GPUs and sees 1"):
        backend.use_processes(ProcessRank(0, 2), stage(device="gpu", processes=2))


@pytest.mark.parametrize(("times", "reason", "code"), [(1, "StepHung", 1), (MAX_HANGS, "StepHangs", 42)])
def test_a_step_that_hangs_again_and_again_is_for_a_person(times: int, reason: str, code: int) -> None:
    found: Any = hung(ProcessRank(1, 2), 7, 12.0, times)
    assert (found.reason, found.exit_code) == (reason, code)
    assert found.message.startswith("step 7 was not done after 12 s in process 1")
