"""Python code in a model's folder: NeMo-RL loads every model with ``trust_remote_code``, which runs it."""

import json
from pathlib import Path

from safety_worker.errors import InputError

CONFIGURATIONS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
"""Files whose ``auto_map`` names code."""


def check_code(folder: Path, *, allowed: bool) -> None:
    """Refuse a model whose folder would have code run, unless that is allowed.

    Raises
    ------
    InputError
        If code is there and not allowed, or is named and not there.
    """
    code = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    naming = [name for name in CONFIGURATIONS if _names_code(folder / name)]
    if naming and not code:
        raise InputError(
            "ModelCodeMissing",
            f"{naming[0]} of the model names Python code (auto_map), and models are stored without code: "
            "NeMo-RL could not load it. Use backend trl, or a model whose architecture transformers knows",
        )
    if (code or naming) and not allowed:
        raise InputError(
            "ModelCode",
            f"the model's folder holds Python code ({', '.join(code[:3])}), which NeMo-RL would run: set "
            "nemoRl.allowModelCode if you trust it, or use backend trl",
        )


def _names_code(path: Path) -> bool:
    if not path.is_file():
        return False
    value = json.loads(path.read_text(encoding="utf-8"))
    return isinstance(value, dict) and bool(value.get("auto_map"))
