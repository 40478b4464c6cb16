"""How many steps a training takes, and what is refused before anything is loaded. Pure.

Called by a backend once the rows are read. Knows nothing of torch or files.
"""

import math
from dataclasses import dataclass
from typing import Any

from safety_records.finetune_stages import TrainStage
from safety_worker.errors import InputError


@dataclass(frozen=True)
class TrainPlan:
    """What the trainer is told."""

    steps: int
    """Optimiser steps in all."""
    steps_per_epoch: int
    """Optimiser steps for one pass over the rows; the last one may have a smaller batch."""
    accumulation: int
    """Micro batches per process and step."""
    world_size: int
    """Processes."""

    @property
    def epochs(self) -> float:
        """Passes over the rows."""
        return self.steps / self.steps_per_epoch


def plan_training(spec: TrainStage, rows: int, model_max_length: int | None, world_size: int) -> TrainPlan:
    """Derive the plan.

    Parameters
    ----------
    spec
        What is asked for.
    rows
        Training rows, at least 0.
    model_max_length
        Longest sequence that the model takes, in tokens; None where its configuration does not say.
    world_size
        Number of processes, each with its own micro batches.

    Raises
    ------
    InputError
        Naming the field and the remedy.
    """
    if model_max_length is not None and spec.max_sequence_length > model_max_length:
        raise InputError(
            "SequenceTooLong",
            f"batch.maxSequenceLength {spec.max_sequence_length} is more than the {model_max_length} tokens "
            "that the model takes",
        )
    per_pass = spec.micro_batch * world_size
    if spec.global_batch % per_pass:
        raise InputError(
            "InvalidBatch",
            f"batch.global {spec.global_batch} is no multiple of batch.micro {spec.micro_batch} times "
            f"{world_size} processes",
        )
    if rows < spec.global_batch:
        raise InputError(
            "TooFewRows",
            f"{rows} training rows do not fill a batch of {spec.global_batch}: "
            "add rows or lower batch.global",
        )
    steps_per_epoch = math.ceil(rows / spec.global_batch)
    steps = spec.steps if spec.steps is not None else math.ceil((spec.epochs or 0) * steps_per_epoch)
    if steps < 1:
        raise InputError("InvalidSchedule", "schedule: this is less than one step")
    if spec.warmup_steps > steps:
        raise InputError(
            "InvalidSchedule", f"schedule.warmupSteps {spec.warmup_steps} is more than the {steps} steps"
        )
    return TrainPlan(steps, steps_per_epoch, spec.global_batch // per_pass, world_size)


def scheduler_arguments(spec: TrainStage) -> dict[str, Any]:
    """Learning-rate schedule as arguments of ``transformers.TrainingArguments``.

    Linear with a floor is ``polynomial`` of power 1; it ends at the floor.
    """
    match spec.decay:
        case "cosine":
            return {
                "lr_scheduler_type": "cosine_with_min_lr",
                "lr_scheduler_kwargs": {"min_lr": spec.min_learning_rate},
            }
        case "linear":
            return {
                "lr_scheduler_type": "polynomial",
                "lr_scheduler_kwargs": {"power": 1.0, "lr_end": spec.min_learning_rate},
            }
        case "constant":
            return {"lr_scheduler_type": "constant_with_warmup"}
