"""A stage that was promised a GPU ends at once where there is none."""

import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.training.test_planning import stage

from safety_pod.cuda import Trouble
from safety_records.finetune_stages import PrepareStage
from safety_records.result import StageResult
from safety_worker import devices, dispatch
from safety_worker.devices import require_driver, require_torch
from safety_worker.errors import InputError


def give(monkeypatch: pytest.MonkeyPatch, trouble: Trouble | None, *, available: bool = False) -> None:
    """What the driver and torch say."""

    def is_available() -> bool:
        if not available:
            warnings.warn("CUDA initialization: system not yet initialized", stacklevel=1)
        return available

    torch = ModuleType("torch")
    torch.cuda = SimpleNamespace(is_available=is_available)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(devices, "find_trouble", lambda _engine: trouble)


def test_on_cpu_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch):
    give(monkeypatch, Trouble("NoCudaDevice", "none"))
    require_driver("cpu")
    require_torch("cpu")


def test_a_gpu_that_works_is_no_error(monkeypatch: pytest.MonkeyPatch):
    give(monkeypatch, None, available=True)
    require_driver("gpu")
    require_torch("gpu")


def test_what_the_driver_lacks_is_the_stages_failure(monkeypatch: pytest.MonkeyPatch):
    give(monkeypatch, Trouble("CudaDriverTooOld", "Update the driver."))
    with pytest.raises(InputError, match="Update the driver") as caught:
        require_driver("gpu")
    assert caught.value.reason == "CudaDriverTooOld"


def test_a_gpu_that_torch_cannot_start_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch):
    give(monkeypatch, None)
    with pytest.raises(InputError, match="CUDA initialization: system not yet initialized") as caught:
        require_torch("gpu")
    assert caught.value.reason == "NoCudaDevice"


def test_a_training_on_a_gpu_looks_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, workplace: Workplace
):
    give(monkeypatch, Trouble("ImageWithoutCuda", "Name an image with CUDA."))
    monkeypatch.setitem(dispatch.STAGES, "train", "no.such.module:run")
    with pytest.raises(InputError, match="Name an image with CUDA"):
        dispatch.run_stage(stage(device="gpu"), workplace.context)


def test_preparing_a_training_on_gpus_needs_none_itself(
    monkeypatch: pytest.MonkeyPatch, workplace: Workplace
):
    give(monkeypatch, Trouble("ImageWithoutCuda", "Name an image with CUDA."))
    started = StageResult(stage="prepare", inputs_hash="x")
    monkeypatch.setattr(dispatch, "load", lambda _where: lambda _spec, _context: started)
    fields = {key: value for key, value in stage(device="gpu") if key in PrepareStage.model_fields}
    spec = PrepareStage(**{**fields, "stage": "prepare", "out": "demo/prepare", "inputs_hash": "x"})
    (Path(workplace.artifacts) / spec.out).mkdir(parents=True)
    done = dispatch.run_stage(spec, workplace.context)
    assert done is not None
    assert done.failure is None
