"""Makes a model of an adapter and its base: weights tensor by tensor, with the memory of one of them.

The arithmetic is that of PEFT's ``merge_and_unload`` on CPU with its own settings, bit by bit: the product
of the matrices in float32, added to the base's weights in their type. Of tensors that are computed in blocks
the last bit of float32 may differ. A tensor that the adapter leaves alone is copied as bytes.
Nothing of the model's code is needed, so any architecture can be merged.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from safety_worker.errors import InputError
from safety_worker.models.adapter import TEMPLATES, TOKENIZER, WEIGHTS, Adapter, read_config
from safety_worker.models.model_folder import choose_files
from safety_worker.models.safetensors_files import Tensor, read_header, write_tensors
from safety_worker.models.weights import INDEX

BLOCK_NUMBERS = 64 * 1024 * 1024
"""Numbers of a merged tensor that are computed at a time: 256 MiB in float32, and twice that on the way."""

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight")
OUTPUT = "lm_head.weight"
"""Endings of tensors with one row for each token."""

TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Types whose numbers can be added to; others are packed or quantized."""


@dataclass(frozen=True)
class Merging:
    """An adapter on a base that it fits."""

    adapter: Adapter
    base: Path
    tensors: Mapping[str, Tensor]
    """Of the base."""
    weights: Any
    """The adapter's open file."""
    pairs: Mapping[str, str]
    """By tensor of the base: module of the adapter that is added to it."""
    replaced: Mapping[str, str]
    """By tensor of the base: tensor of the adapter that takes its place."""


def merge_adapter(adapter: Adapter, base: Path, target: Path, report: Callable[[int, int], None]) -> None:
    """Fill a folder with the merged model.

    Parameters
    ----------
    adapter
        As it was read.
    base
        Folder of the base model, whose files were checked.
    target
        An empty folder.
    report
        Told how many tensors of how many are written.

    Raises
    ------
    InputError
        If the adapter was made for another base, before anything is written; or holds no finite numbers.
    """
    files = choose_files(path.name for path in base.iterdir() if path.is_file())
    shards = {name: read_header(base / name) for name in files if name.endswith(".safetensors")}
    tensors = {name: tensor for shard in shards.values() for name, tensor in shard.items()}
    with safe_open(adapter.folder / WEIGHTS, framework="pt") as weights:
        merging = _fit(adapter, base, tensors, weights)
        config, done = _config(merging), 0
        for name, shard in shards.items():
            shapes = {tensor: _described(merging, tensor, known) for tensor, known in shard.items()}
            write_tensors(target / name, shapes, _contents(merging, name, shard, report, done))
            done += len(shard)
    for name in files:
        if name not in shards:
            shutil.copyfile(base / name, target / name)
    _take_own_files(adapter.folder, target)
    (target / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    _write_index(target, shards)


def _fit(adapter: Adapter, base: Path, tensors: Mapping[str, Tensor], weights: Any) -> Merging:
    """Find each of the adapter's modules in the base, and compare their shapes."""
    if read_config(base).get("quantization_config"):
        raise InputError(
            "BaseIsQuantized",
            f"the base model of {adapter.uri} is quantized, an adapter cannot be added to that: name the "
            "repository with the weights as they were trained in source.base.uri",
        )
    pairs = {_find(adapter, f"{module}.weight", tensors): module for module in adapter.pairs}
    replaced = _replaced(adapter, tensors, weights)
    merging = Merging(adapter, base, tensors, weights, pairs, replaced)
    for tensor, module in pairs.items():
        _check_pair(merging, tensor, module)
    for tensor, name in replaced.items():
        _check_replacement(merging, tensor, name)
    _check_tied(merging)
    return merging


def _find(adapter: Adapter, wanted: str, tensors: Mapping[str, Tensor]) -> str:
    """A tensor of the base by its name in the module tree, which files may have without its first part."""
    for name in (wanted, wanted.partition(".")[2]):
        if name in tensors:
            return name
    raise InputError(
        "AdapterDoesNotFit",
        f"{adapter.uri} changes {wanted[:200]}, which its base model does not have: name the base that it "
        "was trained on in source.base.uri",
    )


def _replaced(adapter: Adapter, tensors: Mapping[str, Tensor], weights: Any) -> dict[str, str]:
    """Replacements by tensor of the base; of a tied output layer only the embeddings are in its files."""
    output = next((name for name in adapter.replaced if name.endswith(OUTPUT)), "")
    inputs = next((name for name in adapter.replaced if name.endswith(EMBEDDINGS)), "")
    found = {name: own for name, own in adapter.replaced.items() if name != output or output in tensors}
    if output and output not in found:
        same = inputs and torch.equal(*(weights.get_tensor(adapter.replaced[n]) for n in (inputs, output)))
        if not same:
            raise _tied(adapter, output)
    return {_find(adapter, name, tensors): own for name, own in found.items()}


def _check_pair(merging: Merging, tensor: str, module: str) -> None:
    (rank, width), (height, inner) = (
        merging.weights.get_slice(n).get_shape() for n in _names(merging, module)
    )
    shape = (width, height) if _turned(merging, module) else (height, width)
    known = merging.tensors[tensor]
    if rank != inner or shape != known.shape:
        raise _does_not_fit(merging, tensor, known.shape, shape)
    if known.dtype not in TYPES:
        raise InputError(
            "BaseIsQuantized",
            f"{tensor} of the base model of {merging.adapter.uri} is of type {known.dtype}, an adapter "
            "cannot be added to that: name the weights as they were trained in source.base.uri",
        )


def _names(merging: Merging, module: str) -> tuple[str, str]:
    return merging.adapter.pairs[module]


def _turned(merging: Merging, module: str) -> bool:
    """Whether the base keeps a module's weights with the inputs first: embeddings, and GPT-2's own layers."""
    embedding = merging.adapter.pairs[module][0].endswith("lora_embedding_A")
    return embedding or bool(merging.adapter.settings.get("fan_in_fan_out"))


def _check_replacement(merging: Merging, tensor: str, name: str) -> None:
    """The same shape, or another number of tokens."""
    known, shape = merging.tensors[tensor].shape, tuple(merging.weights.get_slice(name).get_shape())
    resized = tensor.endswith((*EMBEDDINGS, OUTPUT)) and shape[1:] == known[1:]
    if shape != known and not resized:
        raise _does_not_fit(merging, tensor, known, shape)


def _check_tied(merging: Merging) -> None:
    """Refuse a change of one of two layers that are the same: which model is meant, PEFT does not say."""
    own_output = any(name.endswith(OUTPUT) for name in merging.tensors)
    if own_output and not read_config(merging.base).get("tie_word_embeddings"):
        return
    both = any(name.endswith(OUTPUT) for name in merging.adapter.replaced)
    changed = {*merging.pairs, *(() if both else merging.replaced)}
    for name in sorted(changed):
        if name.endswith((*EMBEDDINGS, OUTPUT)):
            raise _tied(merging.adapter, name)


def _tied(adapter: Adapter, tensor: str) -> InputError:
    return InputError(
        "TiedWeights",
        f"{adapter.uri} changes {tensor[:200]}, and its base model has one layer for its input and its "
        "output: merge it with PEFT (merge_and_unload), look at the result, and name its folder",
    )


def _does_not_fit(
    merging: Merging, tensor: str, known: tuple[int, ...], shape: tuple[int, ...]
) -> InputError:
    return InputError(
        "AdapterDoesNotFit",
        f"{merging.adapter.uri} was made for another base model: {tensor} is {list(known)} there and "
        f"{list(shape)} in the adapter; name its own base in source.base.uri",
    )


def _described(merging: Merging, tensor: str, known: Tensor) -> Tensor:
    """A tensor's type and shape in the merged model."""
    name = merging.replaced.get(tensor)
    if name is None:
        return known
    return known.of_shape(tuple(merging.weights.get_slice(name).get_shape()))


def _contents(
    merging: Merging,
    shard: str,
    tensors: Mapping[str, Tensor],
    report: Callable[[int, int], None],
    before: int,
) -> Iterator[Iterator[memoryview]]:
    """The bytes of each tensor of a file, in pieces."""
    for done, (name, known) in enumerate(tensors.items(), before):
        report(done, len(merging.tensors))
        if name in merging.replaced or name in merging.pairs:
            yield _changed(merging, name, known, merging.base / shard)
        else:
            yield known.read(merging.base / shard)


def _changed(merging: Merging, name: str, known: Tensor, shard: Path) -> Iterator[memoryview]:
    dtype, rows = TYPES[known.dtype], _described(merging, name, known).shape[0]
    delta = _delta(merging, merging.pairs[name]) if name in merging.pairs else None
    step = max(1, BLOCK_NUMBERS // max(1, known.num_numbers // max(1, known.shape[0])))
    with safe_open(shard, framework="pt") as original:
        own = merging.replaced.get(name)
        source = merging.weights.get_slice(own) if own else original.get_slice(name)
        for start in range(0, rows, step):
            block = source[start : start + step].to(dtype)
            if delta is not None:
                block = block.clone()
                block += delta(start, start + step, dtype)
            if not torch.isfinite(block).all():
                message = f"{merging.adapter.uri} gives numbers in {name} that are not finite: it is damaged"
                raise InputError("AdapterNotFinite", message)
            yield memoryview(block.contiguous().view(torch.uint8).reshape(-1).numpy())


def _delta(merging: Merging, module: str) -> Callable[[int, int, torch.dtype], torch.Tensor]:
    """Gives rows of what is added to a module's weights, as ``LoraLayer.get_delta_weight`` computes it."""
    first, second = _names(merging, module)
    inner, outer = (merging.weights.get_tensor(name).float() for name in (first, second))
    scaling = merging.adapter.scaling(module, inner.shape[0])

    def rows(start: int, end: int, dtype: torch.dtype) -> torch.Tensor:
        if not _turned(merging, module):
            return (outer[start:end] @ inner) * scaling
        delta = (outer @ inner[:, start:end]).T * scaling
        # Of embeddings PEFT rounds what is added first.
        return delta.to(dtype) if first.endswith("lora_embedding_A") else delta

    return rows


def _config(merging: Merging) -> dict[str, Any]:
    """The base's configuration, with the number of tokens that there are now."""
    rows = {
        name: (known.shape[0], _described(merging, name, known).shape[0])
        for name, known in merging.tensors.items()
        if name.endswith((*EMBEDDINGS, OUTPUT))
    }
    changed = {old: new for old, new in rows.values() if old != new}
    if changed and len({new for _, new in rows.values()}) != 1:
        raise InputError(
            "AdapterDoesNotFit",
            f"{merging.adapter.uri} changes the number of tokens of {' and '.join(sorted(merging.replaced))} "
            "only, and input and output would differ: save it again with both in modules_to_save",
        )
    config = read_config(merging.base)
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        if part.get("vocab_size") in changed:
            part["vocab_size"] = changed[part["vocab_size"]]
    return config


def _take_own_files(folder: Path, target: Path) -> None:
    """Put the adapter's tokenizer and template in the place of the base's, where it has them."""
    own = {path.name for path in folder.iterdir()}
    templated = bool(own & set(TEMPLATES))
    if own & {"tokenizer.json", "tokenizer.model"}:
        _replace_files(TOKENIZER, folder, target)
        settings = folder / "tokenizer_config.json"
        templated |= settings.exists() and "chat_template" in json.loads(settings.read_text("utf-8"))
    if templated:
        _replace_files(TEMPLATES, folder, target)


def _replace_files(names: Iterable[str], folder: Path, target: Path) -> None:
    for name in names:
        (target / name).unlink(missing_ok=True)
        if (folder / name).exists():
            shutil.copyfile(folder / name, target / name)


def _write_index(target: Path, shards: Mapping[str, Mapping[str, Tensor]]) -> None:
    """The list of which tensor is in which file, where the base has one."""
    if not (target / INDEX).exists():
        return
    total = sum((target / name).stat().st_size for name in shards)
    index = {
        "metadata": {"total_size": total},
        "weight_map": {tensor: name for name, shard in shards.items() for tensor in shard},
    }
    (target / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True), encoding="utf-8")
