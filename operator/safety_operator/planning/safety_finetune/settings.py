"""The settings of a training: those of the spec, and what its profile or the method has for the rest."""

from safety_operator.api.finetune_profiles import LEARNING_RATES, PROFILES
from safety_operator.api.safety_finetune import ChosenSettings, Compute, SafetyFinetuneSpec
from safety_operator.planning.safety_finetune.estimate import Layout, checkpoint_bytes, copy_bytes
from safety_records.base import Record
from safety_records.model_shape import ModelShape
from safety_records.training import Device, Launcher, Strategy

DEFAULT_EPOCHS = 1.0
"""Passes over the data where neither spec nor profile says how long to train."""

LEAST_GRACE_SECONDS = 60
"""For the step in progress, and small checkpoints."""
MOST_GRACE_SECONDS = 1800
"""Longer nothing waits for a pod that was told to end."""
WRITTEN_BYTES = 250_000_000
"""Bytes a second that a shared volume takes at any rate."""


def filled_in(spec: SafetyFinetuneSpec) -> SafetyFinetuneSpec:
    """The spec with a value for everything that it leaves out and training needs."""
    found = _with_profile(spec)
    schedule = found.schedule
    rate = LEARNING_RATES[spec.method.type] if schedule.learning_rate is None else schedule.learning_rate
    epochs = schedule.epochs if schedule.epochs or schedule.steps else DEFAULT_EPOCHS
    chosen = schedule.model_copy(update={"learning_rate": rate, "epochs": epochs})
    return found.model_copy(update={"schedule": chosen})


def _with_profile(spec: SafetyFinetuneSpec) -> SafetyFinetuneSpec:
    if spec.profile is None:
        return spec
    parts: dict[str, Record] = {}
    for part, values in PROFILES[spec.profile].items():
        given: Record = getattr(spec, part)
        left_out = {name: value for name, value in values.items() if name not in given.model_fields_set}
        if part == "schedule" and spec.schedule.epochs is not None:
            left_out.pop("steps", None)
        parts[part] = given.model_copy(update=left_out)
    return spec.model_copy(update=parts)


def processes_of(compute: Compute, device: Device) -> int:
    """Processes of a pod."""
    return (compute.processes_per_node or 1) if device == "cpu" else compute.gpus_per_node


def strategy_of(spec: SafetyFinetuneSpec, device: Device) -> Strategy:
    """How several processes share the model: where nothing is said, all weights on GPUs are sharded."""
    if spec.compute.strategy != "auto":
        return spec.compute.strategy
    several = spec.compute.nodes * processes_of(spec.compute, device) > 1
    shards = several and device == "gpu" and spec.method.type == "full"
    return "fsdp" if shards or spec.backend == "nemo-rl" else "ddp"


def launcher_of(compute: Compute) -> Launcher:
    """What starts the processes."""
    return "kuberay" if compute.launcher == "kuberay" else "job"


def checkpoints_gradients(spec: SafetyFinetuneSpec, device: Device) -> bool:
    """Whether activations are computed again in the backward pass: where nothing is said, always on GPUs.

    So do TRL, LLaMA-Factory and torchtune. It costs about a third of the speed; without it a LoRA of an 8B
    model with rows of 8,192 tokens needs more than any 80 GB GPU has (docs/experiments.md).
    """
    given = spec.compute.gradient_checkpointing
    return device == "gpu" if given is None else given


def grace_seconds_of(spec: SafetyFinetuneSpec, device: Device, shape: ModelShape | None) -> int:
    """Time after SIGTERM for a last checkpoint: as the spec says, else by the checkpoint's size.

    Twice as long where the one before may still be written behind the training.
    """
    if spec.checkpoint.grace_seconds is not None:
        return spec.checkpoint.grace_seconds
    if shape is None:
        return LEAST_GRACE_SECONDS
    number = 2 if copy_bytes(shape, spec, layout_of(spec, device)) else 1
    writing = number * checkpoint_bytes(shape, spec) // WRITTEN_BYTES
    return min(LEAST_GRACE_SECONDS + writing, MOST_GRACE_SECONDS)


def layout_of(spec: SafetyFinetuneSpec, device: Device) -> Layout:
    """How a training is spread over processes."""
    return Layout(
        processes=spec.compute.nodes * processes_of(spec.compute, device),
        strategy=strategy_of(spec, device),
        gradient_checkpointing=checkpoints_gradients(spec, device),
    )


def chosen_settings(spec: SafetyFinetuneSpec, device: Device) -> ChosenSettings:
    """What a status shows of the settings that a spec may leave out."""
    found, layout = filled_in(spec), layout_of(spec, device)
    schedule = found.schedule
    return ChosenSettings(
        epochs=schedule.epochs,
        steps=schedule.steps,
        learning_rate=schedule.learning_rate,
        min_learning_rate=schedule.min_learning_rate,
        warmup_steps=schedule.warmup_steps,
        best=found.checkpoint.best,
        device=device,
        processes=layout.processes,
        strategy=layout.strategy if layout.processes > 1 else None,
        gradient_checkpointing=layout.gradient_checkpointing,
        launcher=launcher_of(spec.compute),
    )
