"""What has to be in the image that trains: NeMo-RL of the wanted release, and its workers' Python.

Where a worker's environment is missing or broken, NeMo-RL tries again every minute, for ever.
"""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from safety_worker.errors import InfrastructureError, InputError

HOME_VARIABLE = "NEMO_RL_HOME"
"""Variable with NeMo-RL's folder, for images that have it elsewhere."""
HOME = "/opt/nemo-rl"

WORKERS_VARIABLE = "NEMO_RL_VENV_DIR"
"""NeMo-RL's own variable with the folder of its workers' environments."""
WORKERS = "/opt/ray_venvs"
WORKER = "nemo_rl.models.policy.workers.dtensor_policy_worker_v2.DTensorPolicyWorkerV2"

ENTRY_POINT = "examples/run_sft.py"
NO_CUDA = 3
"""Exit code of a workers' Python whose torch is built without CUDA."""
ASK = f"import ray, sys, torch; sys.exit(0 if torch.version.cuda else {NO_CUDA})"
START_SECONDS = 300
"""Time for a worker's Python to import Ray and torch from a cold disk."""

_PART = re.compile(r"^(MAJOR|MINOR|PATCH) *= *(\d+)", re.MULTILINE)


def find_home(environment: Mapping[str, str], wanted: str) -> Path:
    """NeMo-RL's folder.

    Raises
    ------
    InputError
        If the image has none, or one of another release.
    """
    home = Path(environment.get(HOME_VARIABLE) or HOME)
    if not (home / ENTRY_POINT).is_file():
        raise InputError(
            "NoNemoRl",
            f"the image has no {home / ENTRY_POINT}: set nemoRl.image to an image of NeMo-RL {wanted}",
        )
    found = release_of(home)
    if found and found.split(".")[:2] != wanted.split(".")[:2]:
        raise InputError(
            "OtherNemoRl",
            f"the image has NeMo-RL {found}, and the configuration is for {wanted}: name image and "
            "version of nemoRl together",
        )
    return home


def release_of(home: Path) -> str:
    """Release of a source tree; empty where it does not say."""
    path = home / "nemo_rl/package_info.py"
    parts = dict(_PART.findall(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    return ".".join(parts.get(name, "0") for name in ("MAJOR", "MINOR", "PATCH")) if parts else ""


def check_workers(environment: Mapping[str, str], home: Path) -> None:
    """Start the workers' Python once, and see that its torch is built for CUDA.

    Raises
    ------
    InputError
        If it is missing, does not start, or has no CUDA.
    InfrastructureError
        If it does not answer in time, or something ends it, as a full memory does.
    """
    python = Path(environment.get(WORKERS_VARIABLE) or WORKERS) / WORKER / "bin" / "python"
    if not python.exists():
        raise InputError(
            "NoWorkerPython",
            f"the image has no {python}: use an image of NeMo-RL whose workers' environments are built",
        )
    try:
        subprocess.run(
            [str(python), "-c", ASK],
            cwd=home,
            env=dict(environment),
            check=True,
            timeout=START_SECONDS,
            capture_output=True,
        )
    except subprocess.TimeoutExpired as error:
        raise InfrastructureError(
            "WorkerPythonSlow",
            f"{python} has not imported Ray and torch within {START_SECONDS} s: the node may still load "
            "the image",
        ) from error
    except (subprocess.SubprocessError, OSError) as error:
        code = getattr(error, "returncode", 0)
        if code < 0:
            raise InfrastructureError(
                "WorkerPythonBroken", f"{python} was ended by signal {-code} while it imported Ray and torch"
            ) from error
        if code == NO_CUDA:
            raise InputError(
                "ImageWithoutCuda",
                f"torch of {python} is built without CUDA: set nemoRl.image to an image of NeMo-RL for GPUs",
            ) from error
        last = (getattr(error, "stderr", None) or b"").decode("utf-8", "replace").strip().splitlines()
        raise InputError(
            "WorkerPythonBroken",
            f"{python} does not start: {last[-1][:200] if last else type(error).__name__}. NeMo-RL's "
            "image keeps it below /root, closed to others: run as user 0, or derive an image that opens it",
        ) from error
