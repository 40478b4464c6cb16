"""Whether a process that was promised a GPU will find CUDA, and if not, why.

Asks the driver's libraries, without torch and without starting CUDA, which would break processes that fork.
Called before an engine or a training starts, so that a wrong image or node is told within a second and not
after a model was loaded, or never: vLLM's build for CPUs serves on CPU wherever it runs.
"""

import ctypes
import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

CUDA_LIBRARY = "libcuda.so.1"
NVML_LIBRARY = "libnvidia-ml.so.1"
"""The driver's libraries, which the container runtime mounts; no image has them."""
OLDEST_DRIVER = {12: "525", 13: "580"}
"""By CUDA's major version, the first driver that runs it, by CUDA's release notes."""
IMAGE_FIELDS = "serving.image, or images.workerGpu in the chart's values"
"""Of servers and of the worker's own stages."""
LOOK_AT_NODE = (
    "Set spec.pod.runtimeClassName where the cluster has a runtime class for GPUs (often nvidia), and look "
    "whether the device plugin and the container toolkit of NVIDIA run on the node."
)


@dataclass(frozen=True)
class Trouble:
    """Why there is no CUDA."""

    reason: str
    """CamelCase, becomes a condition's reason."""
    message: str
    """What was found, and what to do about it."""


def find_trouble(engine: str = "", image_fields: str = IMAGE_FIELDS) -> Trouble | None:
    """Why this process will not find CUDA; None where nothing speaks against it.

    Parameters
    ----------
    engine
        Distribution of the inference engine, such as ``vllm``, whose build counts too.
    image_fields
        Where another image can be named, for the remedy.
    """
    found = _cpu_build(engine, image_fields) if engine else None
    if found is not None:
        return found
    needed = torch_cuda()
    if needed is None:  # another platform's torch, or none: not for us to judge
        return None
    return _driver_trouble(needed, image_fields) or _device_trouble()


def torch_cuda() -> tuple[int, int] | None:
    """The version of CUDA that torch was built for, as its version file says; None where for none."""
    torch = importlib.util.find_spec("torch")
    file = Path(torch.origin).with_name("version.py") if torch and torch.origin else None
    text = file.read_text(encoding="utf-8") if file and file.is_file() else ""
    found = re.search(r"^cuda\b[^=\n]*= *['\"](\d+)\.(\d+)", text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else None


def _cpu_build(engine: str, image_fields: str) -> Trouble | None:
    for name in (engine, f"{engine}-cpu"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if "cpu" in name or "cpu" in version:
            return Trouble(
                "ImageWithoutCuda",
                f"The image has {name} {version}, which runs on CPUs only, and a GPU was asked for. Name an "
                f"image with CUDA ({image_fields}), or set device: cpu.",
            )
        return None
    return None


def _driver_trouble(needed: tuple[int, int], image_fields: str) -> Trouble | None:
    """No driver, or one that is older than the image's CUDA. Within a major version all go together."""
    library = _load(CUDA_LIBRARY)
    if library is None:
        return Trouble(
            "NoCudaDevice",
            f"A GPU was asked for, but the container has no driver: {CUDA_LIBRARY} is missing. "
            f"{LOOK_AT_NODE}",
        )
    version = ctypes.c_int(0)
    if library.cuDriverGetVersion(ctypes.byref(version)) or not version.value:
        return None
    major, minor = version.value // 1000, version.value % 1000 // 10
    if major >= needed[0]:
        return None
    wanted = f" to {OLDEST_DRIVER[needed[0]]} or newer" if needed[0] in OLDEST_DRIVER else ""
    return Trouble(
        "CudaDriverTooOld",
        f"The node's driver runs CUDA up to {major}.{minor}, and this image needs {needed[0]}.{needed[1]}. "
        f"Update the driver{wanted}, or name an image for CUDA {major} ({image_fields}).",
    )


def _device_trouble() -> Trouble | None:
    """What NVML, by which vLLM decides as well, says about devices."""
    if Path("/etc/nv_tegra_release").exists():  # Jetson has no NVML
        return None
    library = _load(NVML_LIBRARY)
    if library is None:
        return Trouble(
            "NoCudaDevice",
            f"The container has a driver, but not {NVML_LIBRARY}, by which engines find GPUs. Let "
            "NVIDIA_DRIVER_CAPABILITIES hold compute,utility (the image's variables, or spec.pod.env).",
        )
    code = library.nvmlInit_v2()
    if code:
        library.nvmlErrorString.restype = ctypes.c_char_p
        words = (library.nvmlErrorString(code) or b"").decode(errors="replace")
        return Trouble("NoCudaDevice", f"The driver does not start: {words} (NVML {code}). {LOOK_AT_NODE}")
    try:
        count = ctypes.c_uint(0)
        code = library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    finally:
        library.nvmlShutdown()
    if code or not count.value:
        return Trouble("NoCudaDevice", f"The container has a driver, but no GPU. {LOOK_AT_NODE}")
    return None


def _load(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None
