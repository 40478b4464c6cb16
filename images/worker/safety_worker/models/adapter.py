"""Adapters of PEFT: what one changes in its base model, read and checked without loading anything.

A LoRA adapter is a few small matrices; it is a model only together with the base that it was trained on.
``adapter_merge`` makes one model of the two. What PEFT's own ``merge_and_unload`` cannot merge, or would
merge into something else than was trained, is refused here, before the base is fetched.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from safety_records.uris import find_problem
from safety_worker.errors import InputError
from safety_worker.models.weights import read_json, read_tensors

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"

TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
TEMPLATES = ("chat_template.json", "chat_template.jinja")
"""Files that an adapter may have in place of its base's; a tokenizer is taken whole or not at all."""

EDITION = "1"
"""Of how models are merged: another one, and what was merged before is merged again."""

OTHER_LORA = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
)
"""Settings of PEFT that change what an adapter's matrices mean."""

CHANGES_BASE = re.compile(r"pissa|olora|corda|loftq|lora_ga|mica", re.IGNORECASE)
"""Initializations that change the base's own weights: added to the published ones, the adapter is another."""

_PREFIX = "base_model.model."
_MATRIX = re.compile(r"(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_embedding_[AB])")
_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Adapter:
    """An adapter whose form is known."""

    uri: str
    """For messages."""
    folder: Path
    base: str
    """What the adapter says that its base is: as a rule a name on a hub; empty: nothing."""
    revision: str
    """Revision of that base; empty: none is said."""
    settings: Mapping[str, Any]
    """Its configuration."""
    pairs: Mapping[str, tuple[str, str]]
    """By module: names of its matrices A and B."""
    replaced: Mapping[str, str]
    """By tensor of the base: name of what takes its place."""

    def scaling(self, module: str, rank: int) -> float:
        """What the product of a module's matrices is multiplied with, as in PEFT's ``update_layer``."""
        patterns = self.settings.get("alpha_pattern") or {}
        key = next((key for key in patterns if re.match(rf"(.*\.)?({key})$", module)), None)
        alpha = float(self.settings["lora_alpha"] if key is None else patterns[key])
        return alpha / (math.sqrt(rank) if self.settings.get("use_rslora") else rank)


def is_adapter(names: Iterable[str]) -> bool:
    """Whether files at the top of a folder make an adapter, and no model of their own."""
    names = set(names)
    own = {name for name in names if name.endswith((".safetensors", ".onnx", ".gguf"))} - {WEIGHTS}
    return bool({CONFIG, WEIGHTS, PICKLED} & names) and not own


def check_adapter_files(names: Iterable[str], uri: str) -> None:
    """Make sure that an adapter has a configuration, and weights that are no pickle.

    Raises
    ------
    InputError
        Naming what is missing.
    """
    names = set(names)
    if WEIGHTS not in names:
        why = f"{PICKLED}, which can run code" if PICKLED in names else "no weights"
        raise InputError(
            "NoSafetensors", f"{uri} is an adapter with {why}: {WEIGHTS} is needed, save it again with PEFT"
        )
    if CONFIG not in names:
        raise InputError(
            "NoAdapterConfig",
            f"{uri} has the weights of an adapter, but no {CONFIG}: add it, PEFT writes both",
        )


def read_adapter(folder: Path, uri: str) -> Adapter:
    """The adapter in a folder.

    Raises
    ------
    InputError
        If it is not of a form that can be merged, with what to do.
    """
    settings = read_json(f"{CONFIG} of {uri}", folder / CONFIG)
    if not isinstance(settings, dict):
        raise InputError("UnreadableModel", f"{CONFIG} of {uri} is no JSON object")
    _check_settings(settings, uri)
    pairs, replaced = _sort_tensors(read_tensors(f"{WEIGHTS} of {uri}", folder / WEIGHTS), uri)
    base, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    return Adapter(uri, folder, str(base or ""), str(revision or ""), settings, pairs, replaced)


def base_uri(adapter: Adapter) -> str:
    """URI of the base that an adapter names on a hub.

    Raises
    ------
    InputError
        If it names none there: a path of the machine that trained it, or nothing.
    """
    uri = f"hf://{adapter.base}{f'@{adapter.revision}' if adapter.revision else ''}"
    if not _HUB_NAME.fullmatch(adapter.base) or find_problem(uri, "model"):
        named = f"{adapter.base!r}, which is no repository of a hub" if adapter.base else "none"
        raise _no_base(adapter, f"its {CONFIG} names {named[:200]}")
    return uri


def refuse_unnamed(adapter: Adapter) -> NoReturn:
    """Refuse an adapter from elsewhere than a hub whose base the specification does not name.

    Raises
    ------
    InputError
        Always.
    """
    raise _no_base(adapter, "one that does not come from a hub does not say where that is")


def _no_base(adapter: Adapter, why: str) -> InputError:
    return InputError(
        "BaseNotNamed",
        f"{adapter.uri} is an adapter, and {why}: say where its base model is in source.base.uri",
    )


def _check_settings(settings: Mapping[str, Any], uri: str) -> None:
    kind = str(settings.get("peft_type") or "")
    if kind != "LORA":
        raise _refused(uri, f"of the type {kind or 'unknown'}, only LORA is merged")
    other = [name for name in OTHER_LORA if settings.get(name)]
    if other:
        raise _refused(uri, f"with {other[0]}, which is not merged here")
    start = settings.get("init_lora_weights")
    if isinstance(start, str) and CHANGES_BASE.match(start):
        raise _refused(uri, f"that began as {start}, which changes the base's own weights")
    if not isinstance(settings.get("lora_alpha"), int | float):
        raise InputError("UnreadableModel", f"{CONFIG} of {uri} has no number as lora_alpha")


def _refused(uri: str, why: str) -> InputError:
    return InputError(
        "AdapterNotMerged",
        f"{uri} is an adapter {why[:200]}: merge it with PEFT (merge_and_unload), and name the folder of the "
        "whole model",
    )


def _sort_tensors(names: Iterable[str], uri: str) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Matrices by module, and names of what takes the place of a tensor of the base."""
    matrices: dict[str, dict[str, str]] = {}
    replaced: dict[str, str] = {}
    for name in sorted(names):
        rest = name.removeprefix(_PREFIX)
        found = _MATRIX.fullmatch(rest)
        if found:
            side = "A" if "_A" in found["part"] else "B"
            matrices.setdefault(found["module"], {})[side] = name
        elif rest != name and rest.endswith((".weight", ".bias")) and ".lora_" not in rest:
            replaced[rest.replace(".base_layer.", ".")] = name
        else:
            raise _refused(uri, f"with the tensor {name}, which no LoRA has")
    halves = [module for module, sides in matrices.items() if len(sides) != 2]  # noqa: PLR2004 - A and B
    if halves:
        raise InputError("UnreadableModel", f"{WEIGHTS} of {uri} has one of two matrices of {halves[0]}")
    return {module: (sides["A"], sides["B"]) for module, sides in matrices.items()}, replaced


def read_config(folder: Path) -> dict[str, Any]:
    """A model's configuration, which was checked before."""
    value: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return value
