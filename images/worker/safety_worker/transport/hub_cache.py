"""A filled cache of the hub on a claim, for other people's libraries. Nothing is written to it."""

import shutil
from pathlib import Path

from safety_worker.errors import InputError
from safety_worker.transport.uris import local_path

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Variables that keep libraries from asking a hub; huggingface_hub heeds the last one too."""


def open_cache(uri: str, inputs: Path, scratch: Path, where: str) -> Path:
    """The cache at a URI; its prepared data sets are copied to scratch, since reading them makes locks.

    Raises
    ------
    InputError
        If it is no cache; ``where`` names the field.
    """
    cache = local_path(uri, inputs)
    if not (cache / "hub").is_dir() and not (cache / "datasets").is_dir():
        raise InputError(
            "NoCache",
            f"{where}: cache {uri} has neither a folder hub nor a folder datasets: "
            "fill it with HF_HOME set to it, where there is a network",
        )
    if (cache / "datasets").is_dir():
        shutil.copytree(cache / "datasets", scratch / "datasets", dirs_exist_ok=True)
    return cache


def cache_variables(cache: Path, scratch: Path) -> dict[str, str]:
    """Where libraries find it."""
    return {
        "HF_HUB_CACHE": str(cache / "hub"),
        "HF_DATASETS_CACHE": str(scratch / "datasets"),
        "NLTK_DATA": str(cache / "nltk_data"),
    }
