"""What is left when training is over: the model, the metrics, how it was made, and the stage's numbers."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median_high
from typing import Any

from safety_records.finetune_stages import TrainStage
from safety_records.result import Training
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.errors import InfrastructureError
from safety_worker.training.checkpoints import (
    CHECKPOINTS,
    Checkpoint,
    find_damage,
    latest_complete,
    list_checkpoints,
    remove,
)
from safety_worker.training.planning import TrainPlan
from safety_worker.training.records import (
    METRICS_NAME,
    SETTINGS_NAME,
    TOKENS_NAME,
    last_value,
    read_metrics,
    read_resumes,
    read_validated,
)
from safety_worker.training.trl.export import export_model
from safety_worker.training.trl.trainer import TokenCounts

Lines = Sequence[dict[str, Any]]


def write_tokens(work: Path, tokens: TokenCounts, plan: TrainPlan) -> None:
    """Keep how many tokens there are, and the plan."""
    content = {"tokens": tokens.tokens, "trained_tokens": tokens.trained, "plan": asdict(plan)}
    atomic_write_text(work / TOKENS_NAME, json.dumps(content))


def export_result(spec: TrainStage, root: Path) -> None:
    """Export the model and record how it was made.

    Raises
    ------
    InfrastructureError
        If the checkpoint that becomes the model is damaged or gone.
    """
    work, out = root / f"{spec.out}.work", root / spec.out
    lines = read_metrics(work / METRICS_NAME)
    chosen = choose_checkpoint(spec, work / CHECKPOINTS, lines)
    export_model(spec, chosen, root, work / "export")
    shutil.copyfile(work / METRICS_NAME, out / METRICS_NAME)
    record = {
        "spec": spec.model_dump(mode="json", by_alias=True),
        "plan": read_tokens(work)["plan"],
        "checkpoint": chosen.step,
    }
    atomic_write_text(out / SETTINGS_NAME, json.dumps(record, indent=1, sort_keys=True))


def read_tokens(work: Path) -> dict[str, Any]:
    """What :func:`write_tokens` has kept."""
    content: dict[str, Any] = json.loads((work / TOKENS_NAME).read_text(encoding="utf-8"))
    return content


def choose_checkpoint(spec: TrainStage, folder: Path, lines: Lines) -> Checkpoint:
    """The one that becomes the model: the last one, or that with the lowest validation loss.

    Raises
    ------
    InfrastructureError
        If it is damaged or gone; a damaged one is removed, so that training continues from the one before.
    """
    best = read_validated(lines).best_step if spec.best == "validation-loss" else None
    found = {checkpoint.step: checkpoint for checkpoint in list_checkpoints(folder)}
    chosen = latest_complete(folder) if best is None else found.get(best)
    if chosen is not None and not find_damage(chosen.path):
        return chosen
    for checkpoint in found.values():
        if chosen is None or checkpoint.step >= chosen.step:
            remove(checkpoint)
    name = "of the last step" if best is None else f"{best}, the best one,"
    raise InfrastructureError(
        "CheckpointLost",
        f"the checkpoint {name} is damaged or gone: training continues from an earlier one",
    )


def summary(spec: TrainStage, work: Path) -> Training:
    """Where training ended, from its metrics: the last numbers, the median of speeds."""
    lines, counts = read_metrics(work / METRICS_NAME), read_tokens(work)
    last = partial(last_value, lines)
    memory, step, validated = last("memory_bytes"), last("step"), read_validated(lines)
    return Training(
        step=None if step is None else int(step),
        steps=counts["plan"]["steps"],
        epoch=last("epoch"),
        loss=last("loss"),
        validation_loss=last("validation_loss"),
        tokens_per_second=_median(lines, "tokens_per_second"),
        learning_rate=last("learning_rate"),
        grad_norm=last("grad_norm"),
        trained_share=counts["trained_tokens"] / counts["tokens"],
        memory_bytes=None if memory is None else int(memory),
        mfu=_median(lines, "mfu"),
        processes=counts["plan"]["world_size"],
        strategy=spec.strategy if counts["plan"]["world_size"] > 1 else None,
        best_step=validated.best_step if spec.best == "validation-loss" else None,
        stopped_early=validated.stops_after(spec.early_stop_after) or None,
        resumes=read_resumes(work),
    )


def _median(lines: Lines, key: str) -> float | None:
    values = [line[key] for line in lines if key in line]
    return median_high(values) if values else None
