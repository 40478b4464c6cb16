"""How a model's answers are drawn."""

from pydantic import Field

from safety_records.base import Record


class Sampling(Record):
    """How a model's answers are drawn."""

    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1)
    """New tokens per answer."""
    seed: int = 42
    reasoning_end: str = ""
    """Text up to and including the last occurrence is stripped before judging; empty: no reasoning model."""


class GenerationArguments(Record):
    """How answers are drawn in lm-eval's generation tasks; None and empty: as the task says."""

    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: tuple[str, ...] = ()
