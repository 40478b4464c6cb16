"""garak's configuration for one probe, and its environment.

Traps that are closed here: garak's generator stops answers at ``#`` and ``;`` unless told otherwise, sends
the same seed with each answer to a prompt, does not start without a key, downloads what it does not have, and
writes below HOME.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safety_records.eval_stages import ScanStage
from safety_worker.generation.request_form import RequestForm
from safety_worker.transport.hub_cache import OFFLINE, cache_variables

PREFIX = "probe"
"""Start of garak's file names."""

KEY_VARIABLE = "OPENAICOMPATIBLE_API_KEY"
"""garak refuses to start without it, also where the server wants no key."""

REASONING_END = "</think>"
"""What a reasoning model's thoughts end with, where the specification says nothing: text up to it is no
answer; without one the whole text is."""

LOG_VARIABLE = "GARAK_LOG_FILE"
LOG_NAME = "garak.log"
"""garak's own log, which all probes share."""


def garak_settings(spec: ScanStage) -> dict[str, Any]:
    """What garak's generator sends with every request."""
    settings = {
        "n": 1,
        "temperature": spec.temperature,
        "top_p": spec.top_p,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "max_tokens": spec.max_tokens,
    }
    return settings if spec.generations > 1 else settings | {"seed": spec.seed}


def build_configuration(
    spec: ScanStage, probe: str, folder: Path, asking: RequestForm | None = None
) -> dict[str, Any]:
    """Content of the YAML file for one probe; reports go to ``folder``, requests as ``asking`` learned."""
    settings = garak_settings(spec)
    asked = (asking or RequestForm()).apply(settings)
    suppressed = ["stop"] if spec.generations == 1 else ["stop", "seed"]
    suppressed += [name for name in settings if name not in asked]
    generator = {
        "uri": spec.target.base_url,
        "max_tokens": spec.max_tokens,
        "temperature": spec.temperature,
        "top_p": spec.top_p,
        "stop": [],
        "suppressed_params": suppressed,
        "extra_params": {name: value for name, value in asked.items() if name not in settings},
        "skip_seq_start": "",
        "skip_seq_end": spec.reasoning_end or REASONING_END,
    }
    return {
        "system": {"parallel_attempts": spec.parallelism, "lite": False},
        "run": {
            "generations": spec.generations,
            "seed": spec.seed,
            "soft_probe_prompt_cap": spec.prompt_cap,
            "spec": {"include": [f"probes.{probe}"]},
        },
        "plugins": {
            "target_type": "openai.OpenAICompatible",
            "target_name": spec.target.model,
            "extended_detectors": spec.detectors == "extended",
            "generators": {"openai": {"OpenAICompatible": generator}},
        },
        "reporting": {
            "report_dir": str(folder.absolute()),
            "report_prefix": PREFIX,
            "confidence_interval_method": "none",
        },
    }


def garak_environment(
    base: Mapping[str, str], scratch: Path, key: str, *, downloads: bool = False, cache: Path | None = None
) -> dict[str, str]:
    """Environment of garak: it writes to ``scratch`` only, and downloads nothing unless allowed.

    With a ``cache`` that is filled it reads what it would download, and is offline all the same.
    """
    folders = {
        name: str(scratch / name.lower()) for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    }
    offline = dict.fromkeys(OFFLINE, "0" if downloads and cache is None else "1")
    filled = cache_variables(cache, scratch) if cache is not None else {}
    return {
        **base,
        **folders,
        **offline,
        **filled,
        "HOME": str(scratch / "home"),
        LOG_VARIABLE: str(scratch / LOG_NAME),
        KEY_VARIABLE: key or "none",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
    }
