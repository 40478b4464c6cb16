"""Screening: what rows are compared with, by which method, and which of them are taken out."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from safety_records.base import Record
from safety_records.data import Dataset
from safety_records.schema import config


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


class GradientSettings(Record):
    """What the method gradient differentiates."""

    model_config = config(
        ("!has(self.projection) || self.projection % 8 == 0", "make projection a multiple of 8, such as 8192")
    )
    parameters: Literal["full", "lora"] = "lora"
    """full: every weight, each anchor set costs as much memory as the model; lora: adapters, projected at
    random."""
    tokens: int = Field(default=10, ge=1, le=4096)
    """Response tokens that count, from the first."""
    rank: int = Field(default=8, ge=1, le=256)
    """Rank of the adapters."""
    target_modules: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = Field(
        default=("q_proj", "v_proj"), min_length=1, max_length=32
    )
    """Linear maps that get adapters, by their last name."""
    projection: int = Field(default=8192, ge=8, le=65536, json_schema_extra={"minimum": 64})
    """Dimensions that adapters' gradients are projected to, a multiple of 8."""


class GradientOptions(GradientSettings):
    """The same for a worker."""

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
