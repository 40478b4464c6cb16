"""Fine-tunes that tests render: one with hostile text everywhere, and metrics as a training leaves them."""

import math
from typing import Any

from safety_records.finetune import FinetuneReport

DIGEST = "sha256:" + "3" * 64
SETTINGS: dict[str, Any] = {
    "method": {"type": "lora", "rank": 16, "alpha": 32, "targetModules": []},
    "steps": 300,
    "learningRate": 1e-4,
    "minLearningRate": 0.0,
    "warmupSteps": 20,
    "decay": "cosine",
    "weightDecay": 0.01,
    "betas": [0.9, 0.95],
    "maxGradNorm": 1.0,
    "globalBatch": 16,
    "microBatch": 2,
    "maxSequenceLength": 8192,
    "precision": "bf16",
    "seed": 42,
    "device": "gpu",
    "nodes": 2,
    "processes": 4,
    "strategy": "fsdp",
    "overrides": {},
}


def finetune(text: str = "", **changes: Any) -> FinetuneReport:
    """A finished training with ``text`` wherever text comes from outside."""
    values: dict[str, Any] = {
        "namespace": "demo",
        "name": "hardened",
        "backend": "trl",
        "base": {"name": text or "hf://HuggingFaceTB/SmolLM2-135M-Instruct@main", "digest": DIGEST},
        "data": {"name": text or "SafetyBlend blend", "digest": DIGEST},
        "trainRows": 1_846,
        "validationRows": 57,
        "digest": DIGEST,
        "bytes": 270_000_000,
        "settings": SETTINGS | ({"overrides": {"note": text}} if text else {}),
        "training": {
            "step": 300,
            "steps": 300,
            "epoch": 2.6,
            "loss": 0.4213,
            "validationLoss": 0.5312,
            "tokensPerSecond": 41_234.0,
            "trainedShare": 0.312,
            "memoryBytes": 61 * 2**30,
            "mfu": 0.47,
            "resumes": 1,
            "processes": 8,
            "strategy": "fsdp",
        },
        "pushed": {"uri": text[:1100], "revision": text[:71]} if text else None,
        "warnings": [text] if text else [],
        "versions": {"torch": text or "2.13.0", "trl": "1.16.0"},
        "seconds": 4_321.0,
    }
    return FinetuneReport.model_validate({**values, **changes})


def metrics(steps: int, *, every: int = 20, gpu: bool = True) -> list[dict[str, Any]]:
    """Lines of ``metrics.jsonl``: each step, and a validation now and then."""
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        wave = math.sin(step * 12.9898) * 0.5
        lines.append(
            {
                "step": step,
                "epoch": round(step / 115, 4),
                "loss": round(0.4 + 1.9 * math.exp(-step / (steps / 6)) + 0.12 * wave, 6),
                "learning_rate": 1e-4 * min(step / 20, 0.5 + 0.5 * math.cos(math.pi * step / steps)),
                "grad_norm": round(0.6 + 2.2 * math.exp(-step / 40) + 0.2 * abs(wave), 6),
                "tokens_per_second": 41_000 + 1_500 * wave,
            }
        )
        if gpu:
            lines[-1] |= {"memory_bytes": 60 * 2**30 + step * 2**20, "mfu": 0.47 + 0.01 * wave}
        if step % every == 0:
            lines.append(
                {"step": step, "validation_loss": round(0.53 + 1.6 * math.exp(-step / (steps / 5)), 6)}
            )
    return lines
