"""Screening: what rows are compared with, by which method, and which of them are taken out."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from safety_records.base import Record
from safety_records.data import Dataset


class ScreenMethod(StrEnum):
    """How rows that break safety are looked for. ``safety_worker/screening`` has the formulas."""

    REPRESENTATION = "representation"
    """Last-layer hidden state of the last token, cosine to harmful anchors (arXiv 2404.01099)."""
    GRADIENT = "gradient"
    """Per-example loss gradient, cosine to harmful minus safe anchors (arXiv 2404.01099)."""
    LARF = "larf"
    """Hidden state of the safety-sensitive layer, harmful minus safe cosine (arXiv 2507.18631)."""


class AnchorSet(Record):
    """Examples that rows are compared with. Exactly one of preset and dataset."""

    preset: str = ""
    dataset: Dataset | None = None
    """Columns prompt and response."""
    limit: int = Field(default=100, ge=1)
    """The first so many rows are taken."""


class GradientOptions(Record):
    """What the method ``gradient`` differentiates."""

    parameters: Literal["full", "lora"] = "lora"
    """full: every weight of the model; lora: adapters on ``target_modules``, projected."""
    tokens: int = Field(default=10, ge=1)
    """Response tokens that the loss counts, from the first."""
    rank: int = Field(default=8, ge=1)
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")
    projection: int = Field(default=8192, ge=8)
    """Dimensions that a LoRA gradient is projected to; a multiple of 8."""
    seed: int = 42
    """Of the adapters' random half and of the projection."""


class ScreenSelection(Record):
    """Which of the scored rows are taken out or flagged. Exactly one of top_fraction and threshold."""

    method: ScreenMethod
    action: Literal["drop", "flag"] = "drop"
    top_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Share of the scored rows, those with the highest scores, rounded to whole rows."""
    threshold: float | None = None
    """Rows with at least this score."""
    select: Literal["highest", "random"] = "highest"
    """random: as many rows as the scores would select, drawn at random: the control."""
    seed: int = 42
