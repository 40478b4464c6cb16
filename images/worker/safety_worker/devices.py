"""The GPU that a stage was promised, looked for before anything is loaded, and what processors compute in."""

import warnings

from safety_pod.cuda import find_trouble
from safety_pod.processor import computes_bfloat16
from safety_records.training import Precision
from safety_worker.errors import InputError

ENGINE = "vllm"
"""Distribution by whose build an image for CPUs is told from one with CUDA."""


def require_driver(device: str) -> None:
    """Make sure that a stage for ``gpu`` has an image with CUDA, a driver and a GPU; takes milliseconds.

    Raises
    ------
    InputError
        If it does not: NoCudaDevice, CudaDriverTooOld or ImageWithoutCuda.
    """
    trouble = find_trouble(ENGINE) if device == "gpu" else None
    if trouble is not None:
        raise InputError(trouble.reason, trouble.message)


def require_torch(device: str) -> None:
    """Make sure that torch can start CUDA for a stage for ``gpu``; loads torch.

    Raises
    ------
    InputError
        NoCudaDevice, if it cannot.
    """
    words = _refusal_of_torch() if device == "gpu" else ""
    if words:
        raise InputError("NoCudaDevice", f"torch finds no GPU, though the driver has one: {words}")


def computed_precision(asked: Precision, device: str) -> Precision:
    """What to compute in: float32 on a processor that would have to imitate bfloat16, which takes longer."""
    return "fp32" if device == "cpu" and not computes_bfloat16() else asked


def _refusal_of_torch() -> str:
    """Why torch cannot use CUDA, in its own words; empty where it can."""
    import torch  # noqa: PLC0415 - a stage for CPUs does not pay for it

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return ""
    return " ".join(str(warning.message) for warning in caught) or "torch.cuda.is_available() is False"
