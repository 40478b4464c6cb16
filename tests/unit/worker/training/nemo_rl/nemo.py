"""A stage that prepares a training with NeMo-RL, in few words; a checkpoint as NeMo-RL leaves it."""

import json
from pathlib import Path

from tests.unit.worker.support.weights import tensors

from safety_records.finetune_stages import PrepareStage


def stage(**changes: object) -> PrepareStage:
    values = {
        "namespace": "n",
        "kind": "SafetyFinetune",
        "name": "f",
        "inputs_hash": "h",
        "root": "file:///r",
        "out": "o",
        "backend": "nemo-rl",
        "model": "m",
        "train": "t/train.jsonl",
        "steps": 40,
        "learning_rate": 5e-7,
        "min_learning_rate": 5e-8,
        "warmup_steps": 20,
        "global_batch": 16,
        "micro_batch": 1,
        "max_sequence_length": 8192,
        "precision": "bf16",
        "checkpoint_steps": 20,
        "checkpoint_keep": 3,
        "validation_steps": 20,
        "device": "gpu",
        "nodes": 1,
        "processes": 8,
    }
    return PrepareStage(**{**values, **changes})


def checkpoint(folder: Path, step: int, loss: float | None = None) -> Path:
    path = folder / f"step_{step}"
    (path / "policy/weights/model").mkdir(parents=True)
    (path / "policy/optimizer/optim").mkdir(parents=True)
    (path / "policy/optimizer/optim/.metadata").write_bytes(b"m")
    shard = path / "policy/weights/model/shard-00001-model-00001-of-00001.safetensors"
    shard.write_bytes(tensors(b"weights"))
    info = {"total_steps": step, "step": step} | ({} if loss is None else {"val:val_loss": loss})
    (path / "training_info.json").write_text(json.dumps(info), encoding="utf-8")
    return path
