"""Stage specifications of a SafetyFinetune; fetching is every kind's."""

from typing import Literal

from pydantic import Field

from safety_records.numbers import NonNegative
from safety_records.stage_base import StageBase
from safety_records.tracking import TrackingTargets
from safety_records.training import (
    BestCheckpoint,
    Device,
    Launcher,
    LongRows,
    NemoRlSettings,
    Precision,
    Strategy,
    TrainingBackend,
    TrainMethod,
    TrainSchedule,
)


class TrainSettings(TrainSchedule):
    """How a model is trained, as a stage that prepares a training and the one that trains both have it."""

    backend: TrainingBackend = "trl"
    model: str
    """Folder of the base model relative to the root."""
    train: str
    """Training file relative to the root (JSONL or Parquet with ``messages``)."""
    validation: str = ""
    method: TrainMethod = TrainMethod()
    learning_rate: NonNegative
    global_batch: int = Field(ge=1)
    micro_batch: int = Field(ge=1)
    max_sequence_length: int = Field(ge=8)
    long_rows: LongRows = Field(default="cut", exclude_if=lambda value: value == "cut")
    packing: bool = Field(default=False, exclude_if=lambda value: not value)
    """Whether short rows share a sequence."""
    precision: Precision
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward pass, for memory."""
    seed: int = 42
    checkpoint_steps: int = Field(ge=1)
    checkpoint_keep: int = Field(ge=1)
    best: BestCheckpoint = Field(default="none", exclude_if=lambda value: value == "none")
    validation_steps: int = Field(ge=1)
    early_stop_after: int | None = Field(default=None, ge=1, exclude_if=lambda value: value is None)
    """Measurements of the validation loss without improvement after which training ends; None: never."""
    step_timeout_seconds: int | None = Field(default=None, ge=1)
    """A step that takes longer hangs; None: no limit."""
    device: Device
    nodes: int
    processes: int = Field(default=1, ge=1, exclude_if=lambda value: value == 1)
    """Of each node: one for each of its GPUs."""
    strategy: Strategy = Field(default="ddp", exclude_if=lambda value: value == "ddp")
    """Of several processes."""
    launcher: Launcher = "job"
    grace_seconds: int | None = Field(default=None, ge=1)
    """Time after SIGTERM for a last checkpoint; None: it is not known."""
    overrides: dict[str, bool | int | float | str] = {}
    """Raw arguments of the backend, merged last, recorded in the result's folder: of trl.SFTConfig, or dotted
    keys of NeMo-RL's configuration."""
    lineage: dict[str, str] = Field(default={}, exclude_if=lambda value: not value)
    """What ``base`` and ``data`` are called by the resource, for the report."""


class PrepareStage(StageBase, TrainSettings):
    """Check a training for NeMo-RL and write what it starts from, before a GPU is asked for.

    Output: ``config.yaml`` (complete, without the folders of the run), ``train.jsonl``, ``validation.jsonl``
    and ``plan.json``.
    """

    stage: Literal["prepare"] = "prepare"
    nemo_rl: NemoRlSettings = NemoRlSettings()


class TrainStage(StageBase, TrainSettings):
    """Supervised fine-tuning and checkpoints. Output: a Hugging Face model folder, if the backend exports.

    Working files (checkpoints, metrics.jsonl) are in ``<out>.work``, which a restarted pod continues from.
    """

    stage: Literal["train"] = "train"
    prepared: str = Field(default="", exclude_if=lambda value: not value)
    """Backend nemo-rl: output folder of the prepare stage."""
    tracking: TrackingTargets | None = Field(default=None, exclude_if=lambda value: value is None)
    """Where its numbers are sent; None: nowhere."""


class ExportStage(StageBase):
    """A checkpoint of NeMo-RL -> a Hugging Face model folder, in the base's data type, adapters merged.

    Configuration, tokenizer and chat template are the base's own. Needs no GPU.
    """

    stage: Literal["export"] = "export"
    trained: str
    """Output folder of the train stage; its checkpoints are in ``<trained>.work``."""
    model: str
    """Folder of the base model relative to the root."""
    method: TrainMethod = TrainMethod()
    best: BestCheckpoint = "none"
    """Which checkpoint is exported; none: the last one."""


class PushStage(StageBase):
    """A trained model and its card -> a hub, a bucket or a registry; what is there is not sent again."""

    stage: Literal["push"] = "push"
    model: str
    """Folder of the model relative to the root."""
    digest: str
    """Digest of the model: what is sent has to have it."""
    uri: str
    """Target, as ``safety_records.push`` has it."""
    token_env: str = ""
    replace: bool
    """Whether another model at the target gives way; else the stage fails."""
