"""Whether the model has the modules that adapters are wanted for, by the names in its weights.

NeMo-RL trains nothing, without a word, where a name matches no linear layer.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from safety_worker.errors import InputError
from safety_worker.models.adapter import read_config
from safety_worker.models.model_folder import model_files
from safety_worker.models.safetensors_files import read_header

EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "wpe")
"""Modules whose weights are matrices, too, but no linear layers."""

HEAD = "lm_head"


def check_targets(folder: Path, wanted: Sequence[str]) -> None:
    """Refuse names that match no linear layer, and an output head that is the input embedding.

    Raises
    ------
    InputError
        Naming the module, and those that there are.
    """
    there = linear_layers(folder)
    missing = [name for name in wanted if name != HEAD and not _is_end_of_one(name, there)]
    if missing:
        names = sorted({path.rpartition(".")[2] for path in there})
        raise InputError(
            "NoTargetModules",
            f"method.targetModules: the model has no linear layer {missing[0]}; it has {', '.join(names)}",
        )
    config = read_config(folder)
    if HEAD in wanted and (config.get("text_config") or config).get("tie_word_embeddings"):
        raise InputError(
            "TiedTargetModules",
            f"method.targetModules: {HEAD} shares its weights with the other end of the model, so an "
            "adapter on it cannot be merged: leave it out",
        )


def _is_end_of_one(name: str, paths: Collection[str]) -> bool:
    """Whether a module is called so, or its path ends so: the pattern that NeMo-RL gets matches no other."""
    return any(path == name or path.endswith(f".{name}") for path in paths)


def linear_layers(folder: Path) -> set[str]:
    """Paths of modules whose weight is a matrix, without embeddings."""
    tensors = [
        item for name in model_files(folder) if name.endswith(".safetensors")
        for item in read_header(folder / name).items()
    ]  # fmt: skip
    modules = {
        name.removesuffix(".weight")
        for name, tensor in tensors
        if name.endswith(".weight") and len(tensor.shape) == 2  # noqa: PLR2004 - a matrix
    }
    return {path for path in modules if path.rpartition(".")[2] not in EMBEDDINGS}
