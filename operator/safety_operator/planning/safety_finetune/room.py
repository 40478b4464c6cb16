"""Whether a training fits: the estimate against what is there, in words that say what to do."""

from dataclasses import dataclass

from safety_operator.api.conditions import Reason
from safety_operator.api.quantities import amount
from safety_operator.api.safety_finetune import SafetyFinetuneSpec, TrainingEstimate
from safety_operator.planning.engine.problems import Problem
from safety_operator.planning.engine.products import Model
from safety_operator.planning.safety_finetune.estimate import (
    Layout,
    Memory,
    copy_bytes,
    disk_of,
    memory_of,
)
from safety_records.training import COPY_ROOM, Device

CLOSE = 0.9
"""Share of what is there from which a training may not fit: estimates are that good."""
GIB = 2**30


@dataclass(frozen=True, slots=True)
class There:
    """What a training may take."""

    gpu: int | None
    """Bytes of a GPU; None: not known."""
    pod: int | None
    """Bytes that a training pod may take at most; None: no limit."""
    claim: str
    capacity: int | None
    """Bytes of the claim by its status, which a cluster need not enforce."""


@dataclass(frozen=True, slots=True)
class Room:
    """What is expected, and what follows from it."""

    estimate: TrainingEstimate
    problem: Problem | None = None
    """It certainly does not fit."""
    warnings: tuple[str, ...] = ()
    """It may not fit."""


def find_room(model: Model, spec: SafetyFinetuneSpec, layout: Layout, device: Device, there: There) -> Room:
    """Compare a training with what is there.

    Parameters
    ----------
    model
        The base model, with its sizes where they are known.
    spec
        With all settings filled in.
    layout
        How it is spread over processes.
    device
        Only on GPUs memory is estimated.
    there
        What it may take.
    """
    shape = model.shape
    if shape is None:
        return Room(TrainingEstimate(unknown="the files of the model do not say its sizes in a known way"))
    memory = memory_of(shape, spec, layout) if device == "gpu" else None
    disk = disk_of(shape, spec, model.size or 2 * shape.parameters)
    copied = copy_bytes(shape, spec, layout)
    problem = _too_little_memory(memory, spec, layout, there) or _too_little_disk(disk, model, there)
    warnings = (
        _close_memory(memory, spec, layout, there),
        _no_copy(copied, there),
        _close_disk(disk, model, there),
    )
    return Room(
        _describe(memory, disk, copied, model, there),
        problem,
        () if problem else tuple(text for text in warnings if text),
    )


def _describe(memory: Memory | None, disk: int, copied: int, model: Model, there: There) -> TrainingEstimate:
    return TrainingEstimate(
        checkpoint_memory=_quantity(copied) if copied else "",
        gpu_memory=_quantity(memory.expected) if memory else "",
        gpu_memory_least=_quantity(memory.least) if memory else "",
        gpu_memory_available=_quantity(there.gpu) if memory and there.gpu else "",
        disk=_quantity(disk),
        disk_available=_quantity(model.free) if model.free is not None else "",
    )


def _too_little_memory(
    memory: Memory | None, spec: SafetyFinetuneSpec, layout: Layout, there: There
) -> Problem | None:
    if memory is None or there.gpu is None or memory.least <= there.gpu:
        return None
    what = "The weights" if spec.method.type == "lora" else "Weights, gradients and optimizer"
    message = (
        f"spec.compute: {what} alone take {_gib(memory.least)} of each GPU, and a GPU has {_gib(there.gpu)}. "
        f"{_less_state(spec, layout)}"
    )
    return Problem(Reason.NOT_ENOUGH_MEMORY, message)


def _less_state(spec: SafetyFinetuneSpec, layout: Layout) -> str:
    """What makes the states of a process smaller."""
    if layout.strategy == "ddp" and layout.processes > 1:
        return "Set compute.strategy to fsdp, so that the GPUs share them."
    more = "Use more GPUs (compute.gpusPerNode, compute.nodes), which share them"
    if spec.method.type == "full":
        return f"{more}, or method.type lora."
    sharing = "" if layout.strategy == "fsdp" else " with compute.strategy fsdp"
    return f"{more}{sharing}, GPUs with more memory, or a smaller model."


def _close_memory(memory: Memory | None, spec: SafetyFinetuneSpec, layout: Layout, there: There) -> str:
    if memory is None or there.gpu is None or memory.expected <= CLOSE * there.gpu:
        return ""
    again = "" if layout.gradient_checkpointing else "set compute.gradientCheckpointing, "
    micro = "lower batch.micro, " if spec.batch.micro > 1 else ""
    return (
        f"memory: rows of {spec.batch.max_sequence_length} tokens are expected to take "
        f"{_gib(memory.expected)} of each GPU, and a GPU has {_gib(there.gpu)}: {again}{micro}lower "
        "batch.maxSequenceLength, or use more GPUs, if it runs out"
    )


def _no_copy(copied: int, there: There) -> str:
    """The trainer decides by what is free; here it is certain that this is too little."""
    if there.pod is None or copied * COPY_ROOM <= there.pod:
        return ""
    return (
        f"memory: training waits for its checkpoints. To write them while it goes on takes "
        f"{_gib(int(copied * COPY_ROOM))} of each training pod besides what it trains with, and its limit is "
        f"{_gib(there.pod)}: raise memory in compute.resources.limits if that takes long"
    )


def _too_little_disk(disk: int, model: Model, there: There) -> Problem | None:
    """Free room was counted once, and capacity may be enlarged: only both together are certain."""
    if model.free is None or there.capacity is None or disk <= max(model.free, there.capacity):
        return None
    return Problem(Reason.NOT_ENOUGH_DISK, f"{_disk_words(disk, model.free, there)}. {_LESS_DISK}")


def _close_disk(disk: int, model: Model, there: There) -> str:
    if model.free is None or disk <= CLOSE * model.free:
        return ""
    return f"disk: {_disk_words(disk, model.free, there)}. {_LESS_DISK}"


_LESS_DISK = "Enlarge the claim, free some of it, or lower spec.checkpoint.keep."


def _disk_words(disk: int, free: int, there: There) -> str:
    whole = f" of {_gib(there.capacity)}" if there.capacity is not None else ""
    return (
        f"Checkpoints and the trained model take {_gib(disk)}, and the claim {there.claim} had "
        f"{_gib(free)}{whole} left when the model was fetched"
    )


def capacity_of(quantity: object) -> int | None:
    """Bytes of a claim's ``status.capacity.storage``."""
    value = amount(str(quantity)) if quantity else None
    return int(value) if value is not None else None


def _quantity(size: int) -> str:
    return f"{size / GIB:.1f}Gi"


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
