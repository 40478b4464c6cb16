"""Settings of training that a resource has and a stage passes to the trainer as they are."""

from typing import Annotated, Literal

from pydantic import Field

from safety_records.base import Record
from safety_records.numbers import Fraction, InResource, Measured, NonNegative, Probability, decimal
from safety_records.schema import UNSET, config, over_numbers
from safety_records.tracking import TrackedRun

Device = Literal["cpu", "gpu"]
Precision = Literal["bf16", "fp32"]

TrainingBackend = Literal["trl", "nemo-rl"]
"""Libraries that train; the worker has a package for each (``safety_worker/training/backends.py``)."""

Strategy = Literal["fsdp", "ddp"]
"""How several processes share a model. fsdp: each keeps a part of weights, gradients and optimizer; ddp: each
keeps all of it."""

LongRows = Literal["cut", "refuse"]
"""What is done with rows of more than the longest sequence."""

BestCheckpoint = Literal["none", "validation-loss"]
"""Which checkpoint becomes the model. none: the last one."""

Launcher = Literal["job", "kuberay"]
"""What starts the processes: an Indexed Job, or KubeRay's RayJob."""

NemoRlVersion = Literal["0.7.0"]
"""Releases of NeMo-RL whose configuration is known
(``safety_records/nemo_rl/versions.py``)."""


MEMORY_REMEDY = (
    "raise the memory of training pods (spec.compute.resources.limits.memory, or the role trainer in "
    "spec.pod), use fewer processes a pod, or lower batch.micro or batch.maxSequenceLength"
)
"""What helps where the memory of a training pod, not of its GPUs, is not enough."""


WRITTEN_BEHIND_BYTES = 128 * 2**20
"""Checkpoints from this size on are written while training goes on: smaller ones take less than steps differ
by (docs/experiments.md)."""

COPY_ROOM = 1.5
"""Such a checkpoint is copied where so many times its size is free: steps take memory, too, meanwhile."""


class NemoRlSettings(Record):
    """How a training with NeMo-RL differs from others."""

    version: NemoRlVersion = "0.7.0"
    """Release of NeMo-RL in the image: it decides how the configuration is written."""


class TrainMethod(Record):
    """What is trained."""

    model_config = config(
        (
            "self.type == 'lora' || !(has(self.rank) || has(self.alpha) || has(self.targetModules))",
            "rank, alpha and targetModules belong to type lora",
        )
    )
    type: Literal["full", "lora"] = "full"
    """full: all weights; lora: low-rank adapters, which are merged into the model at the end."""
    rank: int = Field(default=16, ge=1, le=1024, json_schema_extra=UNSET)
    """Type lora: rank of the adapters."""
    alpha: int = Field(default=32, ge=1, le=4096, json_schema_extra=UNSET)
    """Type lora: adapters count alpha / rank times."""
    target_modules: tuple[Annotated[str, Field(max_length=128)], ...] = Field(default=(), max_length=64)
    """Type lora: modules with adapters, by their last name; all linear layers where absent."""


class TrainSchedule(Record):
    """How long and how fast. Defaults are the blueprint's."""

    model_config = config(
        (
            "!(has(self.epochs) && has(self.steps))",
            "give epochs or steps, not both (without either: one epoch)",
        ),
        (
            over_numbers("double(self.epochs) > 0.0", "self.epochs"),
            "epochs is more than 0: without training there is nothing to hand over",
        ),
        (
            "!has(self.steps) || !has(self.warmupSteps) || self.warmupSteps <= self.steps",
            "warmupSteps are part of steps: they cannot be more",
        ),
        (
            over_numbers(
                "double(self.minLearningRate) <= double(self.learningRate)",
                "self.minLearningRate",
                "self.learningRate",
            ),
            "minLearningRate is where learningRate ends: it cannot be larger",
        ),
    )
    epochs: NonNegative | None = None
    """Passes over the data, such as "1" or "0.5"; one where steps are absent too."""
    steps: int | None = Field(default=None, ge=1, le=100000000)
    """Optimizer steps, instead of epochs."""
    learning_rate: NonNegative | None = None
    """Peak learning rate; absent: 5e-7 for type full, 1e-4 for lora."""
    min_learning_rate: NonNegative = Field(default=0.0, json_schema_extra=UNSET)
    """Learning rate at the end; 5e-8 with profile safety-blueprint."""
    warmup_steps: int = Field(default=0, ge=0, le=1000000, json_schema_extra=UNSET)
    """Steps of linear warm-up, from a learning rate of 0; 20 with profile safety-blueprint."""
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the learning rate after the warm-up."""
    weight_decay: NonNegative = 0.01
    """Weight decay of AdamW, decoupled from the learning rate."""
    betas: tuple[Fraction, ...] = Field(default=(0.9, 0.95), min_length=2, max_length=2)
    """AdamW's two betas: how slowly its means of gradients and of their squares forget."""
    max_grad_norm: NonNegative = 1.0
    """Gradients are scaled down to this norm at most."""


class TrainingNumbers(Record):
    """What training measures of itself, on the way and in the end."""

    epoch: Annotated[float, InResource(lambda value: decimal(value, 2))] | None = None
    """Passes over the data so far."""
    loss: Measured | None = None
    """Mean loss of the last step, nats per token."""
    validation_loss: Measured | None = None
    """Latest loss on the validation rows, nats per token."""
    learning_rate: Probability | None = None
    """Learning rate of the last step."""
    grad_norm: Measured | None = None
    """Norm of the last step's gradient, before it is scaled down."""
    trained_share: Annotated[float, Field(ge=0, le=1), InResource(decimal)] | None = None
    """Share of the tokens that are learnt from: those of the assistant."""
    tokens_per_second: Annotated[float, InResource(lambda value: decimal(value, 1))] | None = None
    """Tokens that training processes a second, over all pods."""
    memory_bytes: int | None = Field(default=None, ge=0)
    """Most memory that the fullest GPU has held so far."""
    mfu: Annotated[float, Field(ge=0), InResource(decimal)] | None = None
    """Share of the GPUs' peak arithmetic that the model uses; absent where the peak is not known."""
    resumes: int | None = Field(default=None, ge=0)
    """Times training continued from a checkpoint; absent before it has begun."""
    tracking: tuple[TrackedRun, ...] = Field(default=(), max_length=3, exclude_if=lambda value: not value)
    """The training at each tracker of spec.tracking."""
