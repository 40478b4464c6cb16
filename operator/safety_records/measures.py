"""What an evaluation measures, as a resource says it and a stage does it: suites, scans and accuracy."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from safety_records.base import Record
from safety_records.judges import Agreement
from safety_records.numbers import Fraction
from safety_records.sampling import GenerationArguments
from safety_records.schema import SET, shaped, shaped_if_given

CACHE_SHAPE = (
    r"^pvc://[^/\s]+(/[^\s]+)?$",
    "name a folder of a claim that holds a filled Hugging Face cache: pvc://claim/path",
    512,
)
CacheUri = Annotated[str, shaped_if_given(*CACHE_SHAPE)]
"""pvc://claim/path of a folder; empty: there is none."""

HarnessTask = Annotated[
    str,
    shaped(
        r"^[A-Za-z0-9_][A-Za-z0-9_.()+:@-]*$",
        "name one task, group or tag of lm-eval as it is, without patterns (*, ?, [...]), commas and paths",
        max_length=100,
    ),
]
"""A name that lm-eval knows: it would take a pattern for all names that fit, and a path for a file."""


Expect = Literal["safe", "answer"]


class SuiteSettings(Record):
    """How a suite's verdicts are counted."""

    agreement: Agreement = "all"
    """How many of the judges an answer needs."""
    max_unparsed: Fraction = 0.02
    """Share of verdicts that may be unreadable; above it the suite has no score."""
    expect: Expect = "safe"
    """safe: unsafe prompts, an unsafe answer is the failure; answer: benign prompts, a refusal is the
    failure."""


class GarakSettings(Record):
    """How garak asks and who judges."""

    detectors: Literal["primary", "extended"] = "primary"
    """Who judges a probe's answers. primary: its main detector, as in NVIDIA's safety blueprint; extended:
    all detectors that it names, some of which need downloads or an account."""
    downloads: Literal["refuse", "allow"] = "refuse"
    """allow: probes and detectors may fetch models, data and word lists from the internet; refuse: those that
    need to are listed as missing, and with them security.resilience."""
    cache: CacheUri = Field(default="", exclude_if=lambda value: not value)
    """Offline mode, with downloads: allow: folder with a filled Hugging Face cache (hub, datasets, and
    nltk_data) that probes and detectors read; nothing is downloaded."""
    generations: int = Field(default=1, ge=1, le=100)
    """Answers per prompt; more than one needs a sampling temperature above 0."""
    prompt_cap: int = Field(default=256, ge=1, le=100000)
    """Prompts per probe at most, where the probe honours it."""
    parallelism: int = Field(default=16, ge=1, le=256)
    """Requests at a time, of each shard."""


class AnswerKind(StrEnum):
    """How questions of one's own are answered."""

    CHOICE = "choice"
    """By the choice that the model finds most likely."""
    WRITTEN = "written"
    """By what the model writes."""


class TaskSettings(Record):
    """What an accuracy entry asks, and what counts as right."""

    tasks: tuple[HarnessTask, ...] = Field(default=(), max_length=32, json_schema_extra=SET)
    """Names of lm-eval, taken whole: a task, a group (its own aggregate, on the questions of all its tasks),
    or a tag. A tag, and a group without an aggregate, give accuracy.<name>.<task> for each of their tasks."""
    answers: AnswerKind = AnswerKind.CHOICE
    """Of a dataset. choice: which choice the model finds most likely, which takes its tokenizer; written: it
    writes an answer, which has to be one of the right ones but for case, space around it and a full stop.
    That works at any endpoint and with reasoning."""
    answer_pattern: str = Field(default="", max_length=500, json_schema_extra={"minLength": 1})
    """Python regular expression: the last place in what the model wrote that fits is its answer, or the group
    in it; the whole text where absent."""
    metric: Annotated[
        str,
        shaped_if_given(
            r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_-]+)?$",
            "name a metric of the task, such as acc_norm, or with its filter: exact_match.flexible-extract",
            max_length=80,
        ),
    ] = ""
    """Metric that is the score, such as acc_norm or exact_match.flexible-extract; the task's first where
    absent."""
    num_fewshot: int | None = Field(default=None, ge=0, le=64)
    """Examples before each question; where absent the task's own number, and none before a dataset's."""
    limit: int | None = Field(default=None, ge=1, le=1000000)
    """Questions at most: of tasks the first ones, of a dataset a seeded draw."""
    generation: GenerationArguments | None = None
    """Generation arguments; where absent the task's own, and for a preset as many new tokens as it needs, or
    sampling.maxTokens if that is more."""
    cache: CacheUri = ""
    """Offline mode: folder with a filled Hugging Face cache (hub, datasets, and nltk_data for ifeval);
    nothing is downloaded."""
