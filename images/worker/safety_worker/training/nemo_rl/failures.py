"""Why NeMo-RL ended before its last step, from the end of its output."""

import re
from pathlib import Path

from safety_records.training import MEMORY_REMEDY
from safety_worker.errors import InfrastructureError, InputError, WorkerError

INCOMPLETE = "TrainingIncomplete"
"""Reason where its output has none that is known."""
TAIL_BYTES = 200_000
"""End of the output that is looked at: Ray repeats a worker's error many times."""

_OUT_OF_MEMORY = re.compile(r"CUDA out of memory|OutOfMemoryError", re.IGNORECASE)
_HOST_MEMORY = re.compile(r"node running low on memory|ray\.exceptions\.OutOfMemoryError")
"""Words of Ray, which ends a worker before the kernel ends all of them."""
_FULL = re.compile(r"No space left on device|Disk quota exceeded")
_REFUSED = re.compile(r"ValidationError: .*MasterConfig|validation errors? for MasterConfig|ConfigKeyError")
_UNREADABLE = re.compile(
    r"CheckpointException|PytorchStreamReader|failed finding central directory|UnpicklingError"
    r"|SafetensorError|EOFError|unexpected pos|Ran out of input"
)
"""Words of torch and safetensors about files that are not what they wrote."""
_CLEANING = "Exception ignored in"
_ERROR = re.compile(r"^(?:\S*\s)?\(?[\w.]*(?:Error|Exception): .+", re.MULTILINE)


def explain(output: Path, code: int, step: int, steps: int) -> WorkerError:
    """The error to end with."""
    text = read_tail(output)
    where = f"NeMo-RL ended with code {code} after {step} of {steps} steps"
    if _HOST_MEMORY.search(text):
        return InputError("OutOfMemory", f"{where}: the memory of a pod was full: {MEMORY_REMEDY}")
    if _OUT_OF_MEMORY.search(text):
        return InputError(
            "OutOfGpuMemory",
            f"{where}: out of GPU memory. Lower batch.micro or batch.maxSequenceLength, set "
            "compute.gradientCheckpointing, use more GPUs, or method lora",
        )
    if _FULL.search(text):
        return InfrastructureError(
            "ArtifactStoreFull", f"{where}: no space left. Free some, or enlarge the artifacts claim"
        )
    if _REFUSED.search(text):
        return InputError("ConfigurationRefused", f"{where}: it refused its configuration: {_last(text)}")
    return InfrastructureError(INCOMPLETE, f"{where}: {_last(text)}; its output is in {output.name}")


def cannot_read(output: Path) -> bool:
    """Whether it ended over a file that is damaged."""
    return bool(_UNREADABLE.search(read_tail(output)))


def read_tail(path: Path) -> str:
    """End of a file as text; empty where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return stream.read().decode("utf-8", "replace")


def _last(text: str) -> str:
    """The last line that names an error, but for those of cleaning up."""
    found = _ERROR.findall(text.partition(_CLEANING)[0]) or _ERROR.findall(text)
    return found[-1].strip()[:300] if found else "it names no error"
