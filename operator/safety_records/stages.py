"""Stage specifications: what the operator asks of a worker pod.

The operator puts one of these as JSON into a ConfigMap that the pod mounts; ``safety-worker run --spec FILE``
reads it, by hand too. Secrets are never inside: a specification names environment variables that hold them.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from safety_records.base import Record
from safety_records.blend_stages import AnchorsStage, AnswerStage, AssembleStage, CollectStage, ScreenStage
from safety_records.eval_stages import (
    BenchmarkStage,
    GenerateStage,
    JudgeStage,
    ReportStage,
    ScanStage,
    ScoreStage,
)
from safety_records.numbers import NonNegative
from safety_records.stage_base import ServedModel, StageBase
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

SPEC_VARIABLE = "SAFETY_STAGE_SPEC"
"""Environment variable that holds the specification in runs by hand, where no file does."""
MAX_CHAT_TEMPLATE_BYTES = 131_072
"""Of a chat template that a resource names; the longest published ones have 20 KB."""


class FetchStage(StageBase):
    """Copy a model into the store, under its digest: ``<namespace>/models/<digest hex>``. Idempotent."""

    stage: Literal["fetch"] = "fetch"
    uri: str
    token_env: str = ""
    base_uri: str = Field(default="", exclude_if=lambda value: not value)
    """Base model of an adapter; empty: what an adapter on a hub names, which is then recorded."""
    base_token_env: str = Field(default="", exclude_if=lambda value: not value)
    chat: bool = True
    """Whether it will be asked through a chat template and so must have one."""
    classifier: bool = Field(default=False, exclude_if=lambda value: not value)
    """Whether it is a text classifier, which may be an ONNX graph instead of safetensors."""
    chat_template: str = Field(default="", exclude_if=lambda value: not value)
    """``configmap://name/key`` of the chat template that takes the place of the model's own; empty: it keeps
    that."""


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


class SignedReport(Record):
    """A report whose signed statement is to be verified."""

    name: str
    """The SafetyEval."""
    folder: str
    """Folder of the report relative to the root."""


class VerifyStage(StageBase):
    """Verify the signatures of the reports that a gate rests on: key, model, verdict, and every file."""

    stage: Literal["verify"] = "verify"
    reports: tuple[SignedReport, ...]
    model_digest: str
    """Digest of the model that each has to be about."""
    public_key_env: str = ""
    """Variable that holds the public key (PEM); empty: ``public_key_uri`` says where it is."""
    public_key_uri: str = ""


class ProveStage(StageBase):
    """Canary prompts to the guarded endpoint, bypass probes of the direct one."""

    stage: Literal["prove"] = "prove"
    guarded: ServedModel
    """The endpoint behind the rails."""
    direct: ServedModel
    """The model server itself: this pod is no guardrails pod, so it must not get an answer."""
    unsafe: tuple[str, ...]
    benign: tuple[str, ...]
    refusal: str
    """The rails' own refusal text: these words without the mark of a block are the model's own."""
    probe_timeout_seconds: float = 5.0


StageSpec = Annotated[
    FetchStage
    | GenerateStage
    | JudgeStage
    | ScanStage
    | BenchmarkStage
    | ScoreStage
    | ReportStage
    | CollectStage
    | AnswerStage
    | AnchorsStage
    | ScreenStage
    | AssembleStage
    | PrepareStage
    | TrainStage
    | ExportStage
    | PushStage
    | VerifyStage
    | ProveStage,
    Field(discriminator="stage"),
]


_ADAPTER: TypeAdapter[StageSpec] = TypeAdapter(StageSpec)


def parse_stage_spec(text: str) -> StageSpec:
    """The specification in a JSON text.

    Raises
    ------
    pydantic.ValidationError
        If the text is no valid specification.
    """
    return _ADAPTER.validate_json(text)
