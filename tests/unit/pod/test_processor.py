"""What a processor computes in, by the flags that Linux shows of real ones."""

from pathlib import Path

import pytest

from safety_pod import processor
from safety_pod.processor import choose_dtype, computes_bfloat16
from safety_worker.devices import computed_precision

WITH = {
    "Zen 4": "flags\t\t: fpu sse4_2 avx avx2 avx512f avx512dq avx512bw avx512vl avx512_bf16 sha_ni",
    "Skylake": "flags\t\t: fpu sse4_2 avx avx2 avx512f avx512dq avx512cd avx512bw avx512vl",
    "Sierra Forest": "flags\t\t: fpu avx avx2 avx_vnni avx_ne_convert",
    "Neoverse V1": "Features\t: fp asimd i8mm bf16",
}
WITHOUT = {
    "Zen 3": "flags\t\t: fpu sse4_2 f16c fma avx avx2 sha_ni",
    "Xeon Phi": "flags\t\t: fpu avx avx2 avx512f avx512cd avx512er avx512pf",
    "Neoverse N1": "Features\t: fp asimd asimddp",
}


def cpu_info(folder: Path, flags: str) -> Path:
    file = folder / "cpuinfo"
    file.write_text(
        f"processor\t: 0\nmodel name\t: any\n{flags}\nbugs\t\t: none\n\nprocessor\t: 1\n{flags}\n"
    )
    return file


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose processor has no bfloat16."""
    file = cpu_info(tmp_path, WITHOUT["Zen 3"])
    monkeypatch.setattr(processor, "CPU_INFO", file)


@pytest.mark.parametrize("flags", WITH.values(), ids=WITH)
def test_a_processor_with_bfloat16_computes_in_it(tmp_path: Path, flags: str):
    assert computes_bfloat16(cpu_info(tmp_path, flags))


@pytest.mark.parametrize("flags", WITHOUT.values(), ids=WITHOUT)
def test_a_processor_without_it_does_not(tmp_path: Path, flags: str):
    assert not computes_bfloat16(cpu_info(tmp_path, flags))


def test_flags_that_cannot_be_read_change_nothing(tmp_path: Path):
    assert computes_bfloat16(tmp_path / "none")
    assert computes_bfloat16(cpu_info(tmp_path, "power management:"))


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize(
    ("asked", "given"), [("auto", "float32"), ("bfloat16", "bfloat16"), ("float16", "float16")]
)
def test_a_server_there_has_float32_for_auto_and_else_what_was_asked_for(asked: str, given: str):
    arguments = ["engine", "--dtype", asked, "--port", "8000"]
    choose_dtype(arguments)
    assert arguments == ["engine", "--dtype", given, "--port", "8000"]


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("arguments", [[], ["engine"], ["engine", "--dtype"]])
def test_arguments_without_a_type_stay(arguments: list[str]):
    before = list(arguments)
    choose_dtype(arguments)
    assert arguments == before


@pytest.mark.usefixtures("without")
def test_stages_there_compute_in_float32_on_cpu_and_on_gpu_as_asked():
    assert computed_precision("bf16", "cpu") == "fp32"
    assert computed_precision("bf16", "gpu") == "bf16"
    assert computed_precision("fp32", "cpu") == "fp32"
