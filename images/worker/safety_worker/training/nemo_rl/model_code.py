"""Python code in a model's folder: NeMo-RL loads every model with ``trust_remote_code``, which runs it."""

import json
from pathlib import Path

from safety_worker.errors import InputError

CONFIGURATIONS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
"""Files whose ``auto_map`` names code."""


def check_code(folder: Path) -> None:
    """Refuse a model that needs code of its own, or whose folder holds some.

    Models are stored without code, also those that stay on their claim.

    Raises
    ------
    InputError
        Naming the file, and what else trains such a model.
    """
    naming = [name for name in CONFIGURATIONS if _names_code(folder / name)]
    code = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    if naming or code:
        named = f"{naming[0]} of the model names Python code (auto_map)" if naming else ""
        what = named or f"the model holds {code[0]}"
        raise InputError(
            "ModelCode",
            f"{what}, which NeMo-RL would run, and models are stored without code. Use backend trl, or a "
            "model whose architecture transformers knows",
        )


def _names_code(path: Path) -> bool:
    if not path.is_file():
        return False
    value = json.loads(path.read_text(encoding="utf-8"))
    return isinstance(value, dict) and bool(value.get("auto_map"))
