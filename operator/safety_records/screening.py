"""Screening: what rows are compared with, by which method, and which of them are taken out."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from safety_records.base import Record
from safety_records.data import Dataset
from safety_records.numbers import Fraction, Real
from safety_records.sampling import SEED, Seed
from safety_records.schema import config
from safety_records.training import Precision


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
    """Rank of the adapters whose gradients are taken."""
    target_modules: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = Field(
        default=("q_proj", "v_proj"), min_length=1, max_length=32
    )
    """Linear maps that get adapters, by their last name."""
    projection: int = Field(default=8192, ge=8, le=65536, json_schema_extra={"minimum": 64})
    """Dimensions that adapters' gradients are projected to, a multiple of 8."""


class GradientOptions(GradientSettings):
    """The same for a worker."""

    seed: int
    """Of the adapters' random half and of the projection."""


SCREENING_MEMORY_REMEDY = (
    "raise the memory of screening pods (screening.compute.resources.limits.memory, or the role trainer in "
    "spec.pod), or lower screening.compute.batchTokens or screening.maxTokens"
)
"""What helps where the memory of a screening pod, not of its GPU, is not enough."""


class ScreenSettings(Record):
    """How rows are scored."""

    average: int = Field(default=1, ge=1, le=1000)
    """representation: mean of so many of the highest similarities."""
    layer: int | None = Field(default=None, ge=1, le=1024)
    """larf: decoder layer, from 1; found by scaling where absent."""
    max_tokens: int = Field(default=4096, ge=16, le=4194304)
    """Longer rows get no score, and are taken as if they had the highest."""


class ScreenCompute(Record):
    """What rows are scored on."""

    shards: int = Field(default=1, ge=1, le=256)
    """Pods of the Indexed Job, each with one GPU; they share the rows. Any one of them finishes alone what
    the others have not done."""
    precision: Precision = "bf16"
    """Precision of weights and activations; sums are made in float32."""


class SelectionSettings(Record):
    """Which of the scored rows are taken out or flagged. Exactly one of top_fraction and threshold."""

    top_fraction: Fraction | None = None
    """Share of the scored rows that are taken, those with the highest scores: above 0 and below 1."""
    threshold: Real | None = None
    """Rows with at least this score are taken."""
    action: Literal["drop", "flag"] = "drop"
    """drop: taken rows are left out; flag: they stay and are marked in rows.parquet."""
    select: Literal["highest", "random"] = "highest"
    """random: as many rows as the scores would take, drawn at random: the control of an honest comparison."""
    seed: Seed = SEED
    """Seed of adapters, projection and random rows."""


class ScreenSelection(SelectionSettings):
    """The same for a worker."""

    method: ScreenMethod
