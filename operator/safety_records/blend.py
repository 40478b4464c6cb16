"""``blend.json``: what a blend is made of and what became of every row. Page and card are made from it alone.

Written by the worker's assemble stage; the published schema in docs/reference is generated from these models.
It holds no time, and of the resource its name only, so that the same inputs give the same file. Text of
models and data sets is cut to a length, and is hostile: a reader escapes it.
"""

from typing import Literal

from pydantic import Field

from safety_records.base import Published
from safety_records.data import RowFormat
from safety_records.judges import Agreement
from safety_records.quality import JudgeQuality
from safety_records.result import ScreeningResult
from safety_records.sampling import Pick
from safety_records.screening import ScreenSelection

VERSION: Literal[1] = 1
"""Version of the schema; raised when a field changes its meaning or goes away. New fields keep it."""

Part = Literal["safety", "retain"]


class BlendedSource(Published):
    """A source, and what became of its rows."""

    name: str
    part: Part
    title: str = ""
    origin: str = ""
    """URI, or the package that it is part of."""
    licence: str = ""
    digest: str = ""
    """Over the content that was read."""
    max_records: int | None = Field(default=None, ge=1)
    """Only so many records, from the first, were read of it or of each of its subsets; null: all of them."""
    read: int = Field(ge=0)
    fates: dict[str, int] = {}
    """Rows by what became of them: ``kept``, or why they were dropped. They add up to ``read``."""
    rules: tuple[str, ...] = ()
    """In words: its filters and categories, and how many rows were to be drawn."""


class BlendEvaluationSet(Published):
    """An evaluation set whose prompts are never trained on."""

    name: str
    prompts: int = Field(ge=0)
    digest: str = ""


class BlendRules(Published):
    """How rows were compared and drawn."""

    sample: str = ""
    """How safety rows were drawn, in words."""
    near: float | None = None
    """Jaccard similarity from which the later of two prompts was dropped; null: near prompts stayed."""
    evaluation_sets: tuple[BlendEvaluationSet, ...] = ()


class BlendDrop(Published):
    """Rows that a step leaves out for one reason."""

    reason: str
    rows: int = Field(ge=1)


class BlendStep(Published):
    """A step on the way, with what is left after it."""

    name: str
    safety: int = Field(ge=0)
    """Rows of safety sources that are left."""
    retain: int = Field(ge=0)
    dropped: tuple[BlendDrop, ...] = ()

    @property
    def left(self) -> int:
        """Rows that go on."""
        return self.safety + self.retain


class BlendLengths(Published):
    """Tokens of the rows of the output, by the target's tokenizer and chat template."""

    total: int = Field(ge=0)
    median: int = Field(ge=0)
    longest: int = Field(ge=0)
    limit: int = Field(ge=1)
    """Longer rows were dropped."""


class BlendJudge(Published):
    """Who decided which answers are kept."""

    name: str
    type: str
    model: str = ""
    quality: tuple[JudgeQuality, ...] = ()
    """How well it does on labelled answers of this project; empty: not measured."""


class BlendCategory(Published):
    """Safety rows of one category. A row may belong to several."""

    name: str
    asked: int = Field(ge=1)
    """Rows that the model was asked about."""
    kept: int = Field(ge=0)


class BlendCandidate(Published):
    """An answer that was not kept."""

    answer: str
    reason: str
    """Why not; ``kept`` for a source's response that stands in for it."""
    source: bool = False
    """Whether it is the source's own response."""


class BlendReview(Published):
    """A row that no answer was kept for."""

    source: str
    file: str = ""
    index: int = Field(ge=0)
    categories: tuple[str, ...] = ()
    prompt: str
    reason: str
    candidates: tuple[BlendCandidate, ...] = ()


class BlendExample(Published):
    """A row of the output."""

    source: str
    prompt: str
    answer: str


class BlendReport(Published):
    """The whole document."""

    version: Literal[1] = VERSION
    namespace: str
    name: str
    format: RowFormat
    train_rows: int = Field(ge=0)
    validation_rows: int = Field(ge=0)
    validation_share: float = Field(ge=0, lt=1)
    """As it was asked for."""
    split_seed: int
    lengths: BlendLengths | None = None
    """null: there was no tokenizer, so lengths were not checked."""
    sources: tuple[BlendedSource, ...]
    warnings: tuple[str, ...] = ()
    """What came out, but otherwise than one might think: a source that changed, an uneven sample."""
    rules: BlendRules = BlendRules()
    steps: tuple[BlendStep, ...] = Field(min_length=1)
    """The first is what was read, the last what is in the output."""
    candidates: int = Field(default=1, ge=1)
    """Answers that the model was asked for, per safety prompt."""
    pick: Pick = "first"
    """Which safe one is kept."""
    reasoning: Literal["none", "strip", "keep"] = "none"
    """none: the model is no reasoning model."""
    fallback: int = Field(default=0, ge=0)
    """Safety rows with the source's own response, because no answer of the model's was safe."""
    agreement: Agreement
    judges: tuple[BlendJudge, ...] = ()
    screening: ScreeningResult | None = None
    selection: ScreenSelection | None = None
    categories: tuple[BlendCategory, ...] = ()
    review: tuple[BlendReview, ...] = ()
    """Safety rows without a safe answer, the first by digest; ``no-safe-answer.jsonl`` has all."""
    review_total: int = Field(default=0, ge=0)
    examples: tuple[BlendExample, ...] = ()
    lineage: dict[str, str] = {}
    versions: dict[str, str] = {}
