"""Which files make a model, and what a folder must have so that it can be served as a chat model."""

import fnmatch
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safety_worker.artifacts.digests import TEMPORARY_PREFIX
from safety_worker.errors import InputError
from safety_worker.models import adapter
from safety_worker.models.tokenizer_fit import check_tokenizer_fits
from safety_worker.models.weights import check_files, read_json

MODEL_PATTERNS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    *adapter.TOKENIZER,
    "*.tiktoken",
    *adapter.TEMPLATES,
    "preprocessor_config.json",
    "processor_config.json",
)
"""Weights, configuration, tokenizer and chat template. Pickled weights are code and do not belong to it;
neither do read-me files, which may change without the model changing."""

TRANSFORMERS_WEIGHTS = ("model.safetensors", "model-*.safetensors")
CONSOLIDATED = "consolidated*.safetensors"
"""The same weights once more, under the names of another library: left out where both are there."""

ONNX_PATTERN = "*.onnx"
"""The graph of a text classifier, which may take the place of safetensors."""

ADAPTER_FILES = (adapter.CONFIG, adapter.WEIGHTS, *adapter.TOKENIZER, *adapter.TEMPLATES)
"""What is fetched of an adapter: what it changes, and a tokenizer and a template of its own."""

ONNX_PATTERNS = (ONNX_PATTERN, f"{ONNX_PATTERN}_data*", f"{ONNX_PATTERN}.data")
"""A graph, and weights that its exporter has put next to it."""

MAX_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")
"""Where configurations say how long a sequence may be, by the habits of different architectures."""


def model_files(folder: Path) -> list[str]:
    """Relative paths of the files that make the model, sorted. They alone decide its digest."""
    return choose_files(path.name for path in folder.iterdir() if path.is_file())


def choose_files(names: Iterable[str], *, classifier: bool = True) -> list[str]:
    """Which of the files at the top of a folder make the model, sorted.

    A graph counts for a ``classifier`` without safetensors only.
    """
    files = [name for name in names if not name.startswith(TEMPORARY_PREFIX)]
    if adapter.is_adapter(files):
        return sorted({*files} & {*ADAPTER_FILES})
    files = [name for name in files if name != adapter.WEIGHTS]  # what a model was made of, next to it
    if any(fnmatch.filter(files, pattern) for pattern in TRANSFORMERS_WEIGHTS):
        files = [name for name in files if not fnmatch.fnmatchcase(name, CONSOLIDATED)]
    graphs = () if fnmatch.filter(files, "*.safetensors") or not classifier else ONNX_PATTERNS
    return sorted({name for pattern in (*MODEL_PATTERNS, *graphs) for name in fnmatch.filter(files, pattern)})


def check_model(folder: Path, uri: str, *, chat: bool = True, classifier: bool = False) -> int | None:
    """Make sure that a folder can be served, and through a chat template if it is to ``chat``.

    A ``classifier`` is run by its judge; it may be an ONNX graph.

    Returns
    -------
    int or None
        Longest sequence in tokens, None where the configuration does not say.

    Raises
    ------
    InputError
        Naming what is missing and what to do.
    """
    check_files(uri, folder, model_files(folder))
    config = _read_object(folder, "config.json", uri)
    if config is None:
        raise InputError(
            "NoModelConfig",
            f"{uri} has no config.json: name the folder of a Hugging Face model",
        )
    names = [path.name for path in folder.iterdir()]
    is_onnx = check_weights(names, uri, classifier=classifier)
    _check_tokenizer(folder, uri, only_json=is_onnx)
    check_tokenizer_fits(folder, uri)
    if chat and not _has_chat_template(folder, uri):
        raise InputError(
            "NoChatTemplate",
            f"{uri} has no chat template: use an instruction-tuned model, or set model.chatTemplate",
        )
    return max_length(config)


def check_weights(names: Iterable[str], uri: str, *, classifier: bool) -> bool:
    """Make sure that there are weights, and say whether they are an ONNX graph.

    Raises
    ------
    InputError
        If there are none.
    """
    names = list(names)
    endings = {Path(name).suffix for name in names}
    if adapter.is_adapter(names):
        adapter.check_adapter_files(names, uri)
        return False
    if ".safetensors" in endings:
        return False
    if classifier and ".onnx" in endings:
        return True
    why = (
        "only pickled weights, which can run code; convert them where you trust their source "
        "(save_pretrained of transformers writes safetensors)"
        if endings & {".bin", ".pt"}
        else "no weights"
    )
    wanted = "*.safetensors files or an .onnx file" if classifier else "*.safetensors files"
    raise InputError("NoSafetensors", f"{uri} has {why}: {wanted} are needed")


def _check_tokenizer(folder: Path, uri: str, *, only_json: bool) -> None:
    names = ["tokenizer.json"] if only_json else ["tokenizer.json", "tokenizer.model"]
    has_pairs = (folder / "vocab.json").exists() and (folder / "merges.txt").exists()
    if (has_pairs and not only_json) or any((folder / name).exists() for name in names):
        return
    raise InputError("NoTokenizer", f"{uri} has no tokenizer: add {' or '.join(names)}")


def max_length(config: dict[str, Any]) -> int | None:
    """Longest sequence of a model by its configuration, in tokens."""
    parts = [part for part in (config, config.get("text_config")) if isinstance(part, dict)]
    for part in parts:
        for key in MAX_LENGTH_KEYS:
            value = part.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _has_chat_template(folder: Path, uri: str) -> bool:
    if (folder / "chat_template.jinja").exists() or (folder / "chat_template.json").exists():
        return True
    return bool((_read_object(folder, "tokenizer_config.json", uri) or {}).get("chat_template"))


def _read_object(folder: Path, name: str, uri: str) -> dict[str, Any] | None:
    """The JSON object of a file; None where there is no file."""
    if not (folder / name).exists():
        return None
    value = read_json(f"{name} of {uri}", folder / name)
    if not isinstance(value, dict):
        raise InputError("UnreadableModel", f"{name} of {uri} is no JSON object")
    return value
