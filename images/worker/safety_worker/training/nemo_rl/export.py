"""A checkpoint of NeMo-RL as a Hugging Face model folder: the base's files with other weights in them.

NeMo-RL saves float32 without tokenizer, in as many files as processes. The base's safetensors files are
written again with the same names, shapes, data types and order, so that only the weights differ. Called by
the export stage, in the worker image; needs neither NeMo-RL nor a GPU, and the memory of one tensor.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from safety_records.finetune_stages import ExportStage
from safety_records.progress import Progress
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.models.adapter import CONFIG, WEIGHTS, read_adapter, read_config
from safety_worker.models.adapter_merge import merge_adapter
from safety_worker.models.model_folder import model_files
from safety_worker.models.safetensors_files import DERIVED, Tensor, read_header, write_tensors
from safety_worker.training.nemo_rl import layout
from safety_worker.training.nemo_rl.checkpoints import Checkpoint, best_checkpoint, list_checkpoints
from safety_worker.training.nemo_rl.shards import TYPES, ShardedTensors
from safety_worker.training.records import METRICS_NAME

EXPORT_NAME = "export.json"
"""Says which checkpoint the folder was made of; written when all files are there."""
ADAPTER_FOLDER = "adapter"
"""Adapters as they were trained, beside the merged model; no part of its digest."""

Report = Callable[[Progress], None]


def export(spec: ExportStage, root: Path, report_progress: Report) -> None:
    """Write the model; what an earlier try has written whole is left as it is.

    Raises
    ------
    InputError
        If there is no checkpoint to choose.
    InfrastructureError
        If the checkpoint does not fit the base, or is damaged.
    """
    out = root / spec.out
    if (out / EXPORT_NAME).is_file():
        return
    work = root / f"{spec.trained}.work"
    checkpoint = choose(spec, work / layout.CHECKPOINTS)
    scratch = root / f"{spec.out}.work"
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "model").mkdir(parents=True)
    write = _write_merged if spec.method.type == "lora" else _write_whole
    write(spec, root, checkpoint.path / layout.WEIGHTS, scratch, report_progress)
    out.mkdir(parents=True, exist_ok=True)
    for name in model_files(scratch / "model"):
        (scratch / "model" / name).chmod(0o644)
        (scratch / "model" / name).replace(out / name)
    shutil.rmtree(scratch)
    shutil.copyfile(work / METRICS_NAME, out / METRICS_NAME)
    record = {"checkpoint": checkpoint.path.name, "validationLoss": checkpoint.validation_loss}
    atomic_write_text(out / EXPORT_NAME, json.dumps(record, indent=1, sort_keys=True))


def choose(spec: ExportStage, folder: Path) -> Checkpoint:
    """The checkpoint to export: the last, or the one of the lowest validation loss.

    Raises
    ------
    InfrastructureError
        If there is none.
    InputError
        If the best one is asked for and no validation loss was measured.
    """
    found = list_checkpoints(folder)
    if not found:
        raise InfrastructureError("NoCheckpoint", f"{spec.trained} has no whole checkpoint: train again")
    if spec.best == "none":
        return found[-1]
    best = best_checkpoint(folder)
    if best is None:
        raise InputError("NoValidationLoss", "checkpoint.best: no checkpoint has a validation loss")
    return best


def _write_merged(spec: ExportStage, root: Path, weights: Path, scratch: Path, report: Report) -> None:
    """The base with the adapters in it; they are kept as they are, too."""
    kept = root / spec.out / ADAPTER_FOLDER
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights / WEIGHTS, kept / WEIGHTS)
    config = json.loads((weights / CONFIG).read_text(encoding="utf-8"))
    atomic_write_text(kept / CONFIG, json.dumps(config | {"base_model_name_or_path": ""}, indent=1))

    def tell(done: int, total: int) -> None:
        report(Progress(stage="export", done=done, total=total, unit="tensors", message="merging adapters"))

    merge_adapter(read_adapter(kept, "the trained adapter"), root / spec.model, scratch / "model", tell)


def _write_whole(spec: ExportStage, root: Path, weights: Path, scratch: Path, report: Report) -> None:
    """The base's files with the weights of a checkpoint of all weights."""
    base, target = root / spec.model, scratch / "model"
    names = model_files(base)
    files = {name: read_header(base / name) for name in names if name.endswith(".safetensors")}
    trained = ShardedTensors(weights)
    sources = find_sources(spec, base, files, trained)
    for number, (name, tensors) in enumerate(files.items()):
        message = f"writing {name}"
        report(Progress(stage="export", done=number, total=len(files), unit="files", message=message))
        contents = (_content(base / name, key, tensor, sources, trained) for key, tensor in tensors.items())
        write_tensors(target / name, tensors, contents)
    for name in names:
        if name not in files:
            shutil.copyfile(base / name, target / name)


def find_sources(
    spec: ExportStage, base: Path, files: Mapping[str, Mapping[str, Tensor]], trained: ShardedTensors
) -> dict[str, str]:
    """By tensor of the base: the trained one that takes its place; buffers that are computed have none.

    Raises
    ------
    InfrastructureError
        If names or shapes differ.
    """
    known = {name: tensor.shape for tensors in files.values() for name, tensor in tensors.items()}
    packed = [n for tensors in files.values() for n, tensor in tensors.items() if tensor.dtype not in TYPES]
    if packed:
        raise _mismatch(spec, f"{packed[0]} of the base is quantized")
    heads = {name for name in trained.names() ^ known.keys() if name.endswith("lm_head.weight")}
    tied = heads if _is_tied(base) else set()
    missing = sorted(n for n in known.keys() - trained.names() - tied if not n.endswith(DERIVED))
    unknown = sorted(trained.names() - known.keys() - tied)
    if missing or unknown:
        name = (missing or unknown)[0]
        raise _mismatch(spec, f"{name} is in {'the base' if missing else 'the checkpoint'} only")
    sources = {name: name for name in known if name in trained.names()}
    sources |= {name: _embedding(spec, trained) for name in tied if name in known}
    for name, source in sources.items():
        if trained.shape(source) != known[name]:
            raise _mismatch(spec, f"{name} is {trained.shape(source)}, in the base {known[name]}")
    return sources


def _is_tied(base: Path) -> bool:
    """Whether the output head is the input embedding, which is saved once."""
    config = read_config(base)
    return bool((config.get("text_config") or config).get("tie_word_embeddings"))


def _embedding(spec: ExportStage, trained: ShardedTensors) -> str:
    names = [name for name in trained.names() if name.endswith(("embed_tokens.weight", "wte.weight"))]
    if len(names) != 1:
        raise _mismatch(spec, "the input embedding, which is the output head too, was not found")
    return names[0]


def _mismatch(spec: ExportStage, what: str) -> InfrastructureError:
    return InfrastructureError(
        "CheckpointMismatch", f"the checkpoint of {spec.trained} does not fit its base model: {what}"
    )


def _content(
    base: Path, name: str, tensor: Tensor, sources: Mapping[str, str], trained: ShardedTensors
) -> Iterator[memoryview]:
    """The bytes of a tensor, in the base's data type."""
    if name not in sources:
        yield from tensor.read(base)
        return
    weight = trained.get(sources[name]).to(TYPES[tensor.dtype]).contiguous()
    yield memoryview(weight.view(-1).view(torch.uint8).numpy())


def remove_checkpoints(spec: ExportStage, root: Path) -> tuple[str, ...]:
    """Free what the checkpoints of an exported training take; gives a sentence where that is not allowed."""
    folder = root / f"{spec.trained}.work" / layout.CHECKPOINTS
    shutil.rmtree(folder, ignore_errors=True)
    where = folder.relative_to(root)
    return (
        (f"checkpoints in {where} could not be removed: they belong to another user",)
        if folder.exists()
        else ()
    )
