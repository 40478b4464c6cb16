"""The environment of NeMo-RL: small, offline, and free of secrets, for Ray hands it to every worker."""

import re
from collections.abc import Mapping

NAMES = re.compile(
    r"^(PATH|HOME|USER|LANG|LC_ALL|TMPDIR|LD_LIBRARY_PATH|VIRTUAL_ENV|XDG_CACHE_HOME"
    r"|HF_HOME|HF_HUB_CACHE|HF_DATASETS_CACHE|TRITON_CACHE_DIR|TORCHINDUCTOR_CACHE_DIR"
    r"|(CUDA|NVIDIA|NCCL|GLOO|NVTE|OMP|MKL|PYTORCH|TORCH|NRL|NEMO|RAY|UCX|FI|UV)_\w+)$"
)
"""Variables that NeMo-RL, Ray, CUDA and their libraries are told by."""

SECRETS = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "NO_VCS_VERSION": "1",
}
"""Nothing is fetched: model and rows are in folders. The last one keeps NeMo-RL from asking git."""


def driver_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that NeMo-RL gets."""
    kept = {
        name: value
        for name, value in environment.items()
        if NAMES.match(name) and not SECRETS.search(name) and name != "RAY_ADDRESS"
    }
    return kept | OFFLINE
