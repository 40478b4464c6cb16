"""The environment of NeMo-RL: small, offline, and free of secrets, for Ray hands it to every worker."""

import re
from collections.abc import Mapping
from pathlib import Path

NAMES = re.compile(
    r"^(PATH|LANG|LC_ALL|TMPDIR|LD_LIBRARY_PATH|VIRTUAL_ENV"
    r"|(CUDA|NVIDIA|NCCL|GLOO|NVTE|OMP|MKL|PYTORCH|TORCH|NRL|NEMO|RAY|UCX|FI|UV)_\w+)$"
)
"""Variables that NeMo-RL, Ray, CUDA and their libraries are told by."""

SECRETS = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)

CACHES = {
    "HF_HOME": "huggingface",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "XDG_CACHE_HOME": "cache",
}
"""Variables of folders that libraries write to."""

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "NO_VCS_VERSION": "1",
}
"""Nothing is fetched: model and rows are in folders. The last one keeps NeMo-RL from asking git."""


def driver_environment(environment: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """The variables that NeMo-RL gets; ``scratch`` is a folder that can be written to, for caches.

    The image's own home is read-only, or closed to other users than root.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if NAMES.match(name) and not SECRETS.search(name) and name != "RAY_ADDRESS"
    }
    caches = {name: str(scratch / folder) for name, folder in CACHES.items()}
    return kept | caches | OFFLINE | {"HOME": str(scratch), "USER": environment.get("USER", "worker")}
