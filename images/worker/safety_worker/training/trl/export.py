"""A checkpoint as a Hugging Face model folder: merged weights with the base's other files.

Memory: weights of a sharded checkpoint are put together one file at a time, in the files that the base has;
an adapter is merged one tensor at a time; all weights of a single process are there once, in the base's type.
"""

import json
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from transformers import AutoConfig, AutoModelForCausalLM

from safety_records.finetune_stages import TrainStage
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.errors import InputError
from safety_worker.models.adapter import read_adapter
from safety_worker.models.adapter_merge import merge_adapter
from safety_worker.models.model_folder import model_files
from safety_worker.models.safetensors_files import DERIVED
from safety_worker.training.checkpoints import Checkpoint
from safety_worker.training.trl.sharded import STATE

ADAPTER = "adapter"
"""Folder of the output with the adapter alone, which no server takes for the model."""

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
PREFIX = "model."
"""Of weights among the names of a sharded checkpoint."""


def export_model(spec: TrainStage, checkpoint: Checkpoint, root: Path, scratch: Path) -> None:
    """Write the trained model to the stage's output folder, in the base's data type.

    Configuration, generation configuration, tokenizer and chat template are the base's own files, so that
    nothing but the weights differs. A file appears in the output folder by rename; a kill in the middle is
    repaired by doing it again.

    Parameters
    ----------
    spec
        The stage.
    checkpoint
        Complete checkpoint.
    root
        Artifact root.
    scratch
        Folder for unfinished files, on the same file system as the output; removed in the end.
    """
    base = root / spec.model
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    dtype = AutoConfig.from_pretrained(base).dtype or torch.float32
    target = root / spec.out
    target.mkdir(parents=True, exist_ok=True)
    if (checkpoint.path / STATE).is_dir():
        consolidate(checkpoint.path / STATE, base, dtype, scratch)
    elif spec.method.type == "lora":
        keep_adapter(spec, checkpoint, target / ADAPTER)
        merge(target / ADAPTER, base, dtype, scratch)
    else:
        AutoModelForCausalLM.from_pretrained(checkpoint.path, dtype=dtype).to(dtype).save_pretrained(scratch)
    for name in model_files(base):
        if not is_weights(name):
            shutil.copyfile(base / name, scratch / name)
    for name in model_files(scratch):
        (scratch / name).chmod(0o644)
        (scratch / name).replace(target / name)
    shutil.rmtree(scratch)


def merge(adapter: Path, base: Path, dtype: torch.dtype, target: Path) -> None:
    """Add an adapter to its base, one tensor at a time; both give the bytes that PEFT gives.

    Where the base's files name weights otherwise than the architecture does (experts that are fused when they
    are loaded), PEFT merges the whole model in memory, in its published type.
    """
    try:
        merge_adapter(read_adapter(adapter, ADAPTER), base, target, lambda _done, _of: None)
    except InputError as error:
        if error.reason != "AdapterDoesNotFit":
            raise
        model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
        PeftModel.from_pretrained(model, adapter).merge_and_unload().to(dtype).save_pretrained(target)


def keep_adapter(spec: TrainStage, checkpoint: Checkpoint, folder: Path) -> None:
    """Copy the adapter, which names its base by where it is among the artifacts."""
    folder.mkdir(parents=True, exist_ok=True)
    config, weights = ADAPTER_FILES
    content = json.loads((checkpoint.path / config).read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = spec.model
    shutil.copyfile(checkpoint.path / weights, folder / weights)
    atomic_write_text(folder / config, json.dumps(content, indent=2, sort_keys=True))


def consolidate(state: Path, base: Path, dtype: torch.dtype, target: Path) -> None:
    """Put the shards of all weights together, in files like the base's.

    Raises
    ------
    InputError
        If the base's weights have other names than those that were trained.
    """
    saved = _saved_weights(state)
    check_names(base, saved.keys())
    for path in sorted(base.glob("*.safetensors")):
        names = _names_in(path)
        weights = {
            name: torch.empty(saved[name].size, dtype=saved[name].properties.dtype)
            for name in names
            if name in saved
        }
        dcp.load(
            {PREFIX + name: weight for name, weight in weights.items()},
            storage_reader=FileSystemReader(state),
            no_dist=True,
        )
        computed = _read(path, [name for name in names if name not in saved])
        trained = {name: weight.to(dtype) for name, weight in weights.items()}
        save_file(trained | computed, target / path.name, {"format": "pt"})
    for index in base.glob("*.safetensors.index.json"):
        shutil.copyfile(index, target / index.name)


def check_names(base: Path, trained: Collection[str]) -> None:
    """Refuse a base whose weights have other names than those that are trained, such as fused experts.

    Asked before a sharded training, too, which else would be lost at its end. Buffers that newer code
    computes are none of the weights.

    Raises
    ------
    InputError
        Naming one, and how many there are.
    """
    stored = {name for path in base.glob("*.safetensors") for name in _names_in(path)}
    unknown = sorted(name for name in stored - {*trained} if not name.endswith(DERIVED))
    if unknown:
        raise InputError(
            "CannotExport",
            f"compute.strategy: the base stores weights under names that its architecture does not train by "
            f"({unknown[0]} and {len(unknown) - 1} more), so shards cannot be put together: use ddp",
        )


def _saved_weights(state: Path) -> dict[str, TensorStorageMetadata]:
    found = FileSystemReader(state).read_metadata().state_dict_metadata
    return {
        name.removeprefix(PREFIX): entry
        for name, entry in found.items()
        if name.startswith(PREFIX) and isinstance(entry, TensorStorageMetadata)
    }


def _names_in(path: Path) -> list[str]:
    with safe_open(path, "pt") as weights:
        return list(weights.keys())


def _read(path: Path, names: Iterable[str]) -> dict[str, torch.Tensor]:
    with safe_open(path, "pt") as weights:
        return {name: weights.get_tensor(name) for name in names}


def is_weights(name: str) -> bool:
    """Whether a file of a model folder holds weights, or the list of the files that do."""
    return name.endswith((".safetensors", ".safetensors.index.json"))
