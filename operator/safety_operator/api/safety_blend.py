"""SafetyBlend: which data makes the model safer without making it worse?"""

from typing import Annotated, Literal

from pydantic import Field

from safety_operator.api.blend_data import BlendSource, Dedupe, RetainSource
from safety_operator.api.blend_screening import Screening
from safety_operator.api.common import ApiModel, ConfigMapKeyRef, OwnedModel, Serving, Share
from safety_operator.api.conditions import ArtifactStatus, CommonStatus
from safety_operator.api.judges import SEEING_REFUSALS, Judge, refusals_are_seen
from safety_operator.api.pods import BlendPods
from safety_operator.api.run import RunSpec
from safety_records.data import RowFormat, Sample
from safety_records.judges import Agreement
from safety_records.result import Counts, ScreeningResult
from safety_records.sampling import SEED, AnswerSettings, Pick, Reasoning, Sampling, Seed
from safety_records.schema import NAMED_LIST, config, over_numbers


class Refusal(ApiModel):
    """How the model is asked for a refusal of its own."""

    template: ConfigMapKeyRef | None = Field(
        default=None,
        description="Jinja template with prompt and categories; the built-in wrapper where absent.",
    )


class Regenerate(ApiModel):
    """A second try for answers that ended at sampling.maxTokens."""

    max_tokens: Annotated[int, Field(ge=2, le=131072)] = Field(
        description="New tokens of the second try, more than sampling.maxTokens."
    )


class OnPolicy(AnswerSettings, ApiModel):
    """The model's own answers, so that training moves it little."""

    model_config = config(
        (
            "!has(self.pick) || self.pick == 'first' || has(self.candidates) && self.candidates > 1",
            "pick: best chooses among several answers: set candidates to 2 or more",
        ),
        (
            "!has(self.regenerate) || self.regenerate.maxTokens > self.sampling.maxTokens",
            "regenerate.maxTokens is the room of a second try: make it larger than sampling.maxTokens",
        ),
        (
            (
                "!has(self.serving) || !has(self.serving.maxModelLen) || self.sampling.maxTokens < "
                "self.serving.maxModelLen && (!has(self.regenerate) || self.regenerate.maxTokens < "
                "self.serving.maxModelLen)"
            ),
            (
                "a prompt and its answer share serving.maxModelLen: make it larger than sampling.maxTokens "
                "and regenerate.maxTokens"
            ),
        ),
        (
            over_numbers(
                "!has(self.candidates) || self.candidates == 1 || double(self.sampling.temperature) > 0.0",
                "self.sampling.temperature",
            ),
            "several candidates need a sampling.temperature above 0: at 0 they are all the same",
        ),
    )
    model: OwnedModel = Field(description="The model that will be trained.")
    serving: Serving = Field(
        default=Serving(), description="Engine, device, replicas and resources of the model's server."
    )
    sampling: Sampling = Field(default=Sampling(), description="How answers are drawn.")
    pick: Pick = Field(
        default="first",
        description="Which safe answer is kept. best: the one that most judges pass, of those the one that "
        "judges with numbers (classifier, rubric) call safest, whole ones before cut ones, then the first.",
    )
    regenerate: Regenerate | None = Field(
        default=None,
        description="Answers that ended at sampling.maxTokens are asked for once more with this room; where "
        "absent, or if that is not enough either, unfinished reasoning is dropped and an unfinished answer "
        "ends at its last whole sentence.",
    )
    refusal: Refusal = Field(
        default=Refusal(), description="The template around a safety prompt that asks for a refusal."
    )


class Keep(ApiModel):
    """Which answers are kept. Answers that a judge could not read are never kept."""

    agreement: Agreement = Field(default="all", description="How many judges must call an answer safe.")
    on_unparsed: Literal["drop", "fail"] = Field(
        default="drop", description="What an unreadable verdict does: drops the row, or fails the run."
    )


class BlendFilter(ApiModel):
    """Rows that are left out at the end."""

    max_tokens: Annotated[int, Field(ge=16, le=4194304)] = Field(
        default=16384, description="Longest row by the model's tokenizer and chat template."
    )
    reasoning: Reasoning = Field(
        default="strip",
        description="Reasoning before an answer: strip it, or keep it, whole and between its tags. Judges "
        "see the answer only.",
    )
    max_invalid: Share = Field(
        default="0.02", description="Share of malformed rows of a source from which the run fails."
    )


class Split(ApiModel):
    """Training and validation."""

    model_config = config(
        (
            over_numbers("double(self.validation) < 1.0", "self.validation"),
            "keep rows for training: validation is a share below 1",
        )
    )
    validation: Share = Field(default="0.03", description="Share of rows kept for validation.")
    seed: Seed = Field(default=SEED, description="Seed of the split.")


class BlendOutput(ApiModel):
    """The files that are written."""

    format: RowFormat = Field(
        default="jsonl", description="Format of the training files. TRL and NeMo-RL read both."
    )


class SafetyBlendSpec(RunSpec):
    """Sources, sampling, answers, judging and output."""

    model_config = config(
        (
            (
                "!has(self.filter) || !has(self.filter.reasoning) || self.filter.reasoning == 'strip' || "
                "has(self.onPolicy.sampling) && has(self.onPolicy.sampling.reasoningEnd) && "
                "self.onPolicy.sampling.reasoningEnd != ''"
            ),
            "reasoning can be kept where its end is known: set onPolicy.sampling.reasoningEnd",
        ),
        (
            (
                "!has(self.onPolicy.fallback) || self.onPolicy.fallback == 'drop' || "
                "self.sources.exists(s, has(s.preset) || has(s.columns) && (has(s.columns.response) && "
                "s.columns.response != '' || has(s.columns.messages) && s.columns.messages != ''))"
            ),
            "fallback: source needs responses: name columns.response of a source, or leave fallback out",
        ),
        (
            "!has(self.retain) || self.retain.all(r, !self.sources.exists(s, s.name == r.name))",
            "give each entry of sources and retain a name of its own: rows are counted by it",
        ),
        (
            (
                "!has(self.screening) || !has(self.screening.method) || self.screening.method == 'none' || "
                "has(self.screening.rows) && self.screening.rows == 'all' || "
                "has(self.retain) && self.retain.size() > 0"
            ),
            "screening looks at retain and there is none: add retain, or set screening.rows to all",
        ),
        (
            (
                "!has(self.retain) || self.retain.all(r, !has(r.uri) || has(r.preset) || has(r.columns) && "
                "(has(r.columns.response) && r.columns.response != '' || "
                "has(r.columns.messages) && r.columns.messages != '')) || "
                f"self.judges.exists(j, {refusals_are_seen('j')})"
            ),
            (
                "the model answers prompts of retain that have no responses, and no judge can tell whether "
                f"it refused: add a judge of type {SEEING_REFUSALS}, or name columns.response"
            ),
        ),
    )
    pod: BlendPods = Field(
        default=BlendPods(), description="Options of all pods of this resource, over the chart's pods."
    )
    sources: Annotated[
        list[BlendSource], Field(min_length=1, max_length=32, json_schema_extra=NAMED_LIST)
    ] = Field(description="Sources of unsafe prompts, each a preset, a uri, or both.")
    sample: Sample = Field(default=Sample(), description="How safety rows are drawn.")
    retain: Annotated[list[RetainSource], Field(max_length=32, json_schema_extra=NAMED_LIST)] = Field(
        default=[], description="Data that keeps the model able."
    )
    dedupe: Dedupe = Field(default=Dedupe(), description="Rows that must not be there twice, or not at all.")
    screening: Screening = Field(default=Screening(), description="Rows that quietly break safety.")
    on_policy: OnPolicy = Field(
        description="The model that answers the prompts, and which of its answers are trained on."
    )
    judges: Annotated[list[Judge], Field(min_length=1, max_length=8, json_schema_extra=NAMED_LIST)] = Field(
        description="Who decides which answers are kept."
    )
    keep: Keep = Field(default=Keep(), description="How many judges must agree before an answer is kept.")
    filter: BlendFilter = Field(default=BlendFilter(), description="Rows that are left out at the end.")
    split: Split = Field(default=Split(), description="How rows are split into training and validation.")
    output: BlendOutput = Field(default=BlendOutput(), description="Format of the training files.")


class ScreeningStatus(ScreeningResult, ApiModel):
    """What screening found."""

    table: ArtifactStatus | None = Field(
        default=None, description="Folder with scores.parquet and screening.json."
    )


class BlendArtifact(ArtifactStatus):
    """The training data."""

    train_rows: Annotated[int, Field(ge=0)] = Field(default=0, description="Rows in the training files.")
    validation_rows: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Rows in the validation files."
    )
    html: Annotated[str, Field(max_length=2048)] = Field(
        default="", description="pvc://claim/path of the page with the flow of rows."
    )


class BlendSummary(ApiModel):
    """The main numbers, for the printer columns."""

    rows: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Rows of the output, training and validation together."
    )
    kept: Annotated[str, Field(max_length=24)] = Field(default="", description="Kept of sampled, as 147/200.")
    screened: Annotated[str, Field(max_length=24)] = Field(
        default="", description="Rows taken out by screening, flagged ones with the word flagged, or none."
    )


class SafetyBlendStatus(CommonStatus):
    """What came out."""

    counts: Annotated[tuple[Counts, ...], Field(max_length=64)] = Field(
        default=(), description="Rows of each source through the stages."
    )
    mix: Annotated[str, Field(max_length=64)] = Field(
        default="",
        description="Rows that were drawn, and retained rows to a safety row, as 2000 safety, 4000 retained, "
        "2.00.",
    )
    summary: BlendSummary | None = Field(
        default=None, description="The main numbers, for the columns of kubectl get."
    )
    screening: ScreeningStatus | None = Field(
        default=None, description="What screening found, where spec.screening has a method."
    )
    tokens: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Tokens of the output, by the model's tokenizer and chat template."
    )
    output: BlendArtifact | None = Field(
        default=None, description="Where the training data is, and its digest."
    )
    lineage: Annotated[dict[str, Annotated[str, Field(max_length=256)]], Field(max_length=64)] = Field(
        default={}, description="Digest of every input and model."
    )
