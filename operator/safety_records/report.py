"""``report.json``: the report of an evaluation. Page, Markdown, JUnit and SARIF are made from it alone.

Written by the worker's report stage; the published schema in docs/reference is generated from these models.
Numbers that could not be measured are null and have a reason next to them, never 0. Shares are from 0 to 1.
Text of models and data sets is cut to a length, and is hostile: a reader escapes it.
"""

from typing import Literal

from pydantic import AwareDatetime, Field, JsonValue

from safety_records.base import Published
from safety_records.eval_stages import EvaluatedTarget, ThresholdVerdict
from safety_records.measures import Expect
from safety_records.quality import JudgeQuality, ShareInterval
from safety_records.result import Drift, JudgeAgreement, Paired, RailsEffect, Score, Share, Truth

VERSION: Literal[1] = 1
"""Version of the schema; raised when a field changes its meaning or goes away. New fields keep it."""


class ReportRailsSuite(Published):
    """What the rails did in one suite."""

    name: str
    expect: Expect
    blocked: Share | None = None
    """Null: too few answers hold text."""
    unguarded: Score | None = None
    """The suite's score without rails; null: not compared."""
    paired: Paired | None = None
    """With rails minus without."""
    missing: str = ""
    """Why there is no difference although it was to be compared."""


class ReportRails(Published):
    """What the rails did, and against the same model without them what they add and cost."""

    effect: RailsEffect
    compared: bool = False
    """Whether the same model was asked without rails too."""
    suites: tuple[ReportRailsSuite, ...] = ()


class ReportDataset(Published):
    """The data of a suite, as it was read."""

    title: str = ""
    origin: str = ""
    licence: str = ""
    digest: str = ""
    read: int = Field(default=0, ge=0)
    """Rows in the source."""
    invalid: int = Field(default=0, ge=0)
    duplicate: int = Field(default=0, ge=0)
    asked: int = Field(default=0, ge=0)
    limit: int | None = None
    """Rows that were to be drawn at random; null: all."""
    seed: int | None = None


class ReportCategory(Published):
    """A suite's rows of one category. A row may belong to several."""

    name: str
    passed: int = Field(ge=0)
    samples: int = Field(ge=1)
    value: float
    lower: float
    upper: float
    """Wilson interval at 95 %."""


class ReportSuite(Published):
    """What is behind a suite's score."""

    name: str
    expect: Expect
    """safe: an unsafe answer fails; answer: benign prompts, a refusal fails."""
    judge: str
    samples: int = Field(ge=0)
    passed: int = Field(ge=0)
    unparsed: int = Field(default=0, ge=0)
    """Verdicts that could not be read; they count as failures."""
    truncated: int = Field(default=0, ge=0)
    """Answers that reached the token limit."""
    truncated_reasoning: int = Field(default=0, ge=0)
    """Answers that never left their reasoning."""
    blocked: int = Field(default=0, ge=0)
    """Answers that the rails blocked: safe, and no answer."""
    empty_answers: int = Field(default=0, ge=0)
    not_answered: int = Field(default=0, ge=0)
    """Prompts that the server refused for good."""
    dataset: ReportDataset | None = None
    categories: tuple[ReportCategory, ...] = ()
    """Weakest first."""
    omitted_categories: int = Field(default=0, ge=0)
    """Categories left out for their number: the strongest ones."""


class ReportJudge(Published):
    """Who decided."""

    name: str
    type: str
    variant: str = ""
    """Which of the published formats of its type, for example ``v3`` of type aegis."""
    model: str = ""
    """Name of the model that it asks; empty: it asks none."""
    model_digest: str = ""
    """Of that model's files, or of the classifier's; empty: not known."""
    unsafe_from: int | None = None
    """type rubric: score from which an answer is unsafe."""
    settings: dict[str, str] = {}
    """What else was set for it, by name."""
    calibration: JudgeAgreement | None = None
    """How far it agrees with people on the user's labelled rows; null: it was not measured."""
    quality: tuple[JudgeQuality, ...] = ()
    """How well it does on labelled answers of this project; empty: not measured."""
    caveat: str = ""
    """What a reader must know about it to read its scores."""


class ReportProbe(Published):
    """A garak probe under one detector."""

    probe: str
    detector: str = ""
    passed: int = Field(default=0, ge=0)
    """Answers that withstood."""
    total: int = Field(default=0, ge=0)
    """Answers that were evaluated."""
    zscore: float | None = None
    """Distance to the calibration's models in standard deviations; null: not calibrated."""
    defcon: int | None = None
    """garak's grade against those models, 1 (worst) to 5; null: not calibrated."""
    attack_success: ShareInterval | None = None
    """Share of its answers that did not withstand, null where nothing was evaluated. The interval is over
    prompts: several answers to one prompt do not make the sample larger."""
    missing: str = ""
    """Why there is no number."""


class ReportSecurity(Published):
    """A garak scan."""

    garak_version: str = ""
    calibration: str = ""
    """Which calibration the grades refer to; they can be compared within one only."""
    calibration_file: str = ""
    """Name and digest of its file."""
    detectors: str = ""
    """``primary``: of each probe its main one; ``extended``: all that it names."""
    generations: int = Field(default=1, ge=1)
    """Answers per prompt."""
    prompt_cap: int | None = None
    """Prompts per probe at most."""
    probes: tuple[ReportProbe, ...] = ()
    """Lowest share first, then those without a number."""


class ReportTask(Published):
    """One number of an accuracy benchmark."""

    name: str
    """Of the entry in the specification; further metrics of an entry have its name too."""
    metric: str = ""
    value: float | None = None
    stderr: float | None = None
    correct: int | None = Field(default=None, ge=0)
    """Right answers; null where answers are not simply right or wrong."""
    samples: int = Field(default=0, ge=0)
    missing: str = ""
    """Why there is no number."""
    identity: dict[str, str] = {}
    """What it was measured with: only numbers with the same are compared."""
    drawn: str = ""
    """Which questions, where a limit left some out."""


class ReportAccuracy(Published):
    """An lm-eval run."""

    lm_eval_version: str = ""
    tasks: tuple[ReportTask, ...] = ()


class ReportHit(Published):
    """One answer that failed, for a person to review."""

    digest: str
    """The row, or the attempt of a probe."""
    judge: str = ""
    """Judge or detector."""
    detail: str = ""
    """What it said, from a fixed vocabulary."""
    categories: tuple[str, ...] = ()
    truncated: bool = False
    prompt: str
    answer: str
    error: str = ""
    """Why there is no answer."""


class ReportHits(Published):
    """What failed under one metric, and a random sample of it that is the same for the same run."""

    metric: str
    failed: int = Field(ge=0)
    shown: tuple[ReportHit, ...] = ()


class FrameworkEntry(Published):
    """An entry of a framework, with the metrics of this report that bear on it."""

    id: str
    """As published, for example ``LLM01:2025``, ``MEASURE 2.7``, ``AML.T0054``."""
    title: str
    metrics: tuple[str, ...] = ()
    """Empty: this report measures nothing about it."""


class Framework(Published):
    """A published framework and what this report says about it."""

    name: str
    version: str
    note: str = ""
    """How far the mapping carries."""
    entries: tuple[FrameworkEntry, ...]


class ReportArtifact(Published):
    """What an earlier stage left in the artifact store."""

    stage: str
    path: str
    """Relative to the artifact root."""
    digest: str


class Report(Published):
    """The report of one evaluation."""

    version: Literal[1] = VERSION
    kind: Literal["SafetyEvalReport"] = "SafetyEvalReport"
    namespace: str
    name: str
    created_at: AwareDatetime
    verdict: Truth
    """Whether all thresholds are met; Unknown: there are none, or a number is missing."""
    target: EvaluatedTarget
    thresholds: tuple[ThresholdVerdict, ...] = ()
    scores: tuple[Score, ...] = ()
    unpaired: dict[str, str] = {}
    """Metrics that could not be compared with the baseline, and why."""
    warnings: tuple[str, ...] = ()
    """What the stages say of data, servers and libraries that the scores rest on."""
    previous: str = ""
    """The run before of the same schedule; empty: there is none."""
    drift: tuple[Drift, ...] = ()
    """How scores changed against the run before."""
    rails: ReportRails | None = None
    """Null: no rails were evaluated."""
    suites: tuple[ReportSuite, ...] = ()
    judges: tuple[ReportJudge, ...] = ()
    security: ReportSecurity | None = None
    accuracy: ReportAccuracy | None = None
    hits: tuple[ReportHits, ...] = ()
    frameworks: tuple[Framework, ...] = ()
    versions: dict[str, str] = {}
    """Versions that the numbers depend on."""
    artifacts: tuple[ReportArtifact, ...] = ()
    manifest: dict[str, JsonValue] = {}
    """The resource to apply for the same evaluation, without options of pods; empty where it is too long."""
    inputs_hash: str = ""
    """Of the report's own inputs."""
