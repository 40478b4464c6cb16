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
from safety_records.finetune_stages import ExportStage, PrepareStage, PushStage, TrainStage
from safety_records.stage_base import ServedModel, StageBase

CanaryLanguage = Literal["en", "de", "es", "fr", "zh", "ar"]
"""Language of canary conversations that the worker has (ISO 639-1)."""
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
    languages: tuple[CanaryLanguage, ...] = Field(default=(), exclude_if=lambda value: not value)
    """Of further conversations, which are drawn by the inputs hash from the worker's own set."""
    each: int = Field(default=0, ge=0, exclude_if=lambda value: not value)
    """Unsafe and benign conversations that are drawn of each language."""
    pods_url: str = Field(default="", exclude_if=lambda value: not value)
    """Base URL whose name resolves to the addresses of all pods of the model; empty: they are not asked."""
    direct_is_foreign: bool = Field(default=False, exclude_if=lambda value: not value)
    """Whether the direct endpoint is a server of others: it is asked at its own address only."""
    probe_timeout_seconds: float = 5.0


class ProbeStage(StageBase):
    """Bypass probes from a namespace that is not the model's."""

    stage: Literal["probe"] = "probe"
    guarded_url: str
    """Base URL of the guarded endpoint, which is open to everybody: where nobody answers there, this pod
    reaches nothing, and a model server that does not answer it proves nothing."""
    direct: ServedModel
    pods_url: str
    """As :class:`ProveStage` has them."""
    from_namespace: str
    """Where this pod is."""
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
    | ProveStage
    | ProbeStage,
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
