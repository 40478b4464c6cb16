"""How well a judge does whose rules are part of this project, in ``report.json`` and ``blend.json``."""

from pydantic import Field

from safety_records.base import Published


class ShareInterval(Published):
    """A share with its 95 % Wilson interval."""

    value: float = Field(ge=0, le=1)
    lower: float = Field(ge=0, le=1)
    upper: float = Field(ge=0, le=1)


class JudgeQuality(Published):
    """How a judge of this project does on labelled answers of this project."""

    part: str
    """held-out: answers that it was not tuned on; fresh: those of them that were written after its rules."""
    answers: int = Field(ge=1)
    refusals: int = Field(ge=0)
    """Answers that people call a refusal."""
    precision: ShareInterval | None = None
    """Share of refusals among what it calls one; null: it calls none so."""
    recall: ShareInterval | None = None
    """Share of refusals that it calls one; null: there are none."""
