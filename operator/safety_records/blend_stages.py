"""Stage specifications of a SafetyBlend."""

from typing import Literal

from pydantic import Field

from safety_records.base import Record
from safety_records.data import Dataset, RowFormat, Sample, Source
from safety_records.judges import Agreement
from safety_records.sampling import AnswerSettings, Pick, Reasoning, Sampling
from safety_records.screening import (
    AnchorSet,
    GradientOptions,
    ScreenCompute,
    ScreenMethod,
    ScreenSelection,
    ScreenSettings,
)
from safety_records.stage_base import ServedModel, StageBase
from safety_records.training import Device


class CollectStage(StageBase, Sample):
    """Sources -> normalised, de-duplicated, sampled rows, and the retain part.

    Output: ``rows.jsonl`` of BlendRow and ``dropped.parquet`` (origin and reason).
    """

    stage: Literal["collect"] = "collect"
    sources: tuple[Source, ...]
    retain: tuple[Source, ...] = ()
    """Data that keeps the model able; a source's ``limit`` is its sample size."""
    near: float | None = Field(default=None, ge=0.5, le=1)
    """Jaccard similarity from which a prompt is a near duplicate and dropped; None: near duplicates stay."""
    against: tuple[Dataset, ...] = ()
    """Evaluation sets: rows found in them, or near one of them, are dropped as contaminated."""
    max_invalid: float
    """Share of malformed rows of a source from which the stage fails."""


class AnswerStage(StageBase, AnswerSettings):
    """On-policy answers for a blend. Output: ``rows-*.jsonl`` of GeneratedRow.

    Safety rows are asked with the refusal wrapper; retain rows without a response are asked as they are;
    retain rows with a response keep it.
    """

    stage: Literal["answer"] = "answer"
    collected: str
    target: ServedModel
    sampling: Sampling
    template: str = ""
    """Jinja template of the refusal wrapper with ``prompt`` and ``categories``; empty: the built-in one."""
    more_tokens: int | None = Field(default=None, ge=1)
    """New tokens of a second try for answers that ended at ``sampling.max_tokens``; None: there is none."""


class AnchorsStage(StageBase):
    """What screening compares rows with, read and checked before the model is asked for an answer.

    Output: ``anchors.json``.
    """

    stage: Literal["anchors"] = "anchors"
    harmful: AnchorSet
    safe: tuple[AnchorSet, ...] = ()
    layer_prompts: Dataset | None = None
    """larf: prompts whose refusals are counted to find the layer; None: those of the harmful anchors."""


class ChoosingRule(Record):
    """Which of the candidates of a row is trained on."""

    agreement: Agreement
    """How many judges must call it safe."""
    pick: Pick
    """Which safe candidate is kept."""
    reasoning: Reasoning
    """keep: answers are trained on with the reasoning before them."""
    reasoning_end: str = ""
    """End tag of the reasoning; empty: the model does not reason."""


class ScreenStage(StageBase, ChoosingRule, ScreenSettings, ScreenCompute):
    """Scores of rows by how much they resemble what breaks safety.

    Only rows that the judges pass are scored. Output: ``scores.parquet`` (a line per row and method) and
    ``screening.json`` (distributions, top rows, shares, overlaps). Which rows are taken out is decided when
    the blend is assembled. Working files are in ``<out>.work``, where all pods of the Job share them.
    """

    stage: Literal["screen"] = "screen"
    answered: str
    judged: str
    parts: tuple[Literal["safety", "retain"], ...] = Field(min_length=1)
    """Parts of the blend that are scored."""
    model: str
    """Folder of the model relative to the root."""
    methods: tuple[ScreenMethod, ...] = Field(min_length=1)
    """The first decides, the others are reported as well."""
    anchors: str
    """Output folder of the anchors stage."""
    gradient: GradientOptions
    batch_tokens: int = Field(ge=16)
    """Tokens of a batch, padding included; a longer row is a batch of its own."""
    device: Device


class AssembleStage(StageBase, ChoosingRule):
    """Keep what the judges call safe, split, write the training files.

    Output: ``train.jsonl``, ``validation.jsonl`` (or Parquet), ``rows.parquet`` (origin and outcome of rows),
    ``README.md`` (dataset card), ``lineage.json``.
    """

    stage: Literal["assemble"] = "assemble"
    collected: str
    answered: str
    judged: str
    screened: str = ""
    """Output folder of the screen stage; empty: nothing was screened."""
    selection: ScreenSelection | None = None
    """What is done with the scores; None if nothing was screened."""
    candidates: int = Field(ge=1)
    """Answers that the model was asked for, for the card."""
    on_unparsed: Literal["drop", "fail"]
    max_tokens: int
    """Longer rows (by the target's tokenizer and chat template) are dropped."""
    tokenizer: str = ""
    """Folder of the model relative to the root; empty: lengths are not checked, and the card tells so."""
    validation: float = Field(ge=0, lt=1)
    split_seed: int
    format: RowFormat
    lineage: dict[str, str] = {}
    """Digests of every input, model and image that the operator knows of."""
