"""How many steps NeMo-RL makes, and what is refused before a GPU is asked for. Pure.

It drops the last partial batch of each epoch, so that an epoch has fewer steps than with TRL, and it ends
after ``max_num_epochs`` whatever steps are asked for.
"""

import math

from safety_records.finetune_stages import PrepareStage
from safety_worker.errors import InputError
from safety_worker.training.planning import TrainPlan


def plan_steps(spec: PrepareStage, rows: int, model_max_length: int | None) -> TrainPlan:
    """Derive the plan from the number of training rows that give a loss.

    Raises
    ------
    InputError
        Naming the field and the remedy.
    """
    check_length(spec, model_max_length)
    if rows < spec.global_batch:
        raise InputError(
            "TooFewRows",
            f"{rows} training rows do not fill a batch of {spec.global_batch}, so NeMo-RL would make no "
            "step: add rows or lower batch.global",
        )
    steps_per_epoch = rows // spec.global_batch
    steps = spec.steps if spec.steps is not None else math.ceil((spec.epochs or 0) * steps_per_epoch)
    if steps < 1:
        raise InputError("InvalidSchedule", "schedule: this is less than one step")
    if spec.warmup_steps > steps:
        raise InputError(
            "InvalidSchedule", f"schedule.warmupSteps {spec.warmup_steps} is more than the {steps} steps"
        )
    world = spec.processes * spec.nodes
    return TrainPlan(steps, steps_per_epoch, max(1, spec.global_batch // (spec.micro_batch * world)), world)


def check_length(spec: PrepareStage, model_max_length: int | None) -> None:
    """Refuse sequences that are longer than the model takes, and the best checkpoint of no validation rows.

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
    if (spec.best != "none" or spec.early_stop_after) and not spec.validation:
        raise InputError(
            "NoValidationRows",
            "checkpoint.best and validation.earlyStopAfter need validation rows: name some, or leave "
            "them out",
        )
