"""Overrides of a configuration, as dotted keys, and what is checked of the result. Pure.

NeMo-RL would let a mistyped key pass; here a key has to be one of the release's, and its value of its type.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from safety_records.nemo_rl.configuration import Section, Tree
from safety_records.nemo_rl.errors import ConfigurationError

OWNED = (
    *("checkpointing", "logger", "cluster", "sft.max_num_steps", "sft.max_num_epochs"),
    *("policy.model_name", "policy.tokenizer", "policy.megatron_cfg", "policy.dtensor_cfg._v2"),
    *("policy.train_global_batch_size", "policy.train_micro_batch_size", "policy.max_total_sequence_length"),
    *("policy.precision", "data.train", "data.validation", "data.default", "data.max_input_seq_length"),
    *("data.add_bos", "data.add_eos", "data.add_generation_prompt", "sft.only_unmask_final"),
)
"""Keys, and what is below them, that fields of the resource decide, or rows and resuming depend on."""

FREE_ARGUMENTS = ("policy.optimizer.kwargs",)
"""Where names are an argument's, not a key's."""

ADAMW_ARGUMENTS = frozenset(
    {
        *("lr", "betas", "eps", "weight_decay", "amsgrad", "maximize"),
        *("foreach", "capturable", "differentiable", "fused"),
    }
)
"""Arguments of ``torch.optim.AdamW``."""

SHOWN_PROBLEMS = 3


def merge(tree: Tree, overrides: Mapping[str, Any]) -> Tree:
    """The configuration with the overrides' values in place.

    Raises
    ------
    ConfigurationError
        If a key is none of a section, or not the user's to set.
    """
    merged = deepcopy(tree)
    for key, value in overrides.items():
        if any(key == owned or key.startswith(f"{owned}.") for owned in OWNED):
            raise ConfigurationError(
                "InvalidOverrides",
                f"overrides: {key} cannot be set here: a field of the resource decides it, or rows, "
                "progress or resuming depend on it",
            )
        if isinstance(value, str) and "${" in value:
            raise ConfigurationError(
                "InvalidOverrides", f"overrides: {key} refers to another key; write the value"
            )
        *sections, name = key.split(".")
        place: Any = merged
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise ConfigurationError("InvalidOverrides", f"overrides: NeMo-RL's configuration has no {key}")
        place[name] = value
    return merged


def check(model: type[Section], tree: Tree) -> None:
    """Refuse unknown keys, missing ones and values of another type.

    Raises
    ------
    ConfigurationError
        Naming the first keys and what is wrong with them.
    """
    try:
        model.model_validate(tree)
    except ValidationError as error:
        problems = [f"{_path(e['loc'])}: {_words(e['type'], e['msg'])}" for e in error.errors()]
        raise ConfigurationError(
            "InvalidOverrides", f"overrides: {'; '.join(problems[:SHOWN_PROBLEMS])}"
        ) from error
    optimizer = tree["policy"]["optimizer"]
    unknown = optimizer["kwargs"].keys() - ADAMW_ARGUMENTS
    if optimizer["name"] == "torch.optim.AdamW" and unknown:
        raise ConfigurationError(
            "InvalidOverrides",
            f"overrides: policy.optimizer.kwargs.{min(unknown)}: torch.optim.AdamW has no such argument",
        )


def _path(loc: tuple[int | str, ...]) -> str:
    """The dotted key of an error, without the marks of which kind of section was tried."""
    return ".".join(str(part) for part in loc if part not in {"True", "False", True, False})


def _words(kind: str, message: str) -> str:
    return "NeMo-RL knows no such key" if kind == "extra_forbidden" else message


def replicas(tree: Tree) -> int:
    """Copies of the model that each see other rows.

    Raises
    ------
    ConfigurationError
        If the GPUs cannot be shared out.
    """
    cluster, divided = tree["cluster"], tree["policy"]["dtensor_cfg"]
    gpus = cluster["gpus_per_node"] * cluster["num_nodes"]
    one = divided["tensor_parallel_size"] * divided["context_parallel_size"]
    if gpus % one:
        raise ConfigurationError(
            "InvalidOverrides",
            f"overrides: {gpus} GPUs are no multiple of the {one} that tensor_parallel_size and "
            "context_parallel_size give each copy of the model",
        )
    return int(gpus // one)


def check_rules(tree: Tree) -> None:
    """Refuse what a worker of NeMo-RL would stop at only once it has its GPU.

    Raises
    ------
    ConfigurationError
        Naming key and remedy.
    """
    policy, sft, world = tree["policy"], tree["sft"], replicas(tree)
    packed = policy["sequence_packing"]["enabled"]
    dynamic = policy["dynamic_batching"]["enabled"]
    sizes = (
        ("batch.global", policy["train_global_batch_size"], policy["train_micro_batch_size"]),
        ("overrides: sft.val_global_batch_size", sft["val_global_batch_size"], sft["val_micro_batch_size"]),
    )
    for name, batch, micro in sizes:
        step = world if packed or dynamic else world * micro
        if batch % step:
            raise ConfigurationError(
                "InvalidBatch",
                f"{name} {batch} is no multiple of {step}: {micro} rows on each of {world} copies of the "
                "model",
            )
    divided = policy["dtensor_cfg"]
    if packed and (dynamic or divided["context_parallel_size"] > 1):
        raise ConfigurationError(
            "InvalidOverrides", "overrides: batch.packing excludes dynamic_batching and context parallelism"
        )
    adapters = divided["lora_cfg"]
    if adapters["enabled"]:
        chosen = (adapters["match_all_linear"], adapters["target_modules"], adapters["exclude_modules"])
        if sum(map(bool, chosen)) > 1:
            raise ConfigurationError(
                "InvalidOverrides", "overrides: lora_cfg takes one way to choose modules"
            )
