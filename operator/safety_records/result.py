"""Result: what a stage leaves in its termination message, its proof of completion.

At most :data:`MAX_RESULT_BYTES` of UTF-8 JSON; everything larger is an artifact.
"""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from safety_records.base import Record

MAX_RESULT_BYTES = 3500
"""Kubernetes keeps 4,096 bytes of a termination message; the rest is head-room."""

Digest = str
"""``sha256:`` and 64 hexadecimal digits."""


class FailureClass(StrEnum):
    """Whether trying again can help."""

    INPUT = "Input"
    """The specification or the data is wrong: a person must act. Exit code 42."""
    INFRASTRUCTURE = "Infrastructure"
    """Something around the stage failed: try again. Any other exit code."""


EXIT_INPUT = 42
"""Exit code of a worker that failed for its input; the Job's pod failure policy fails at once."""


class StageFailure(Record):
    """Why a stage gave no result, in words for the person who can mend it."""

    failure: FailureClass
    reason: str = Field(pattern=r"^[A-Z][A-Za-z]{2,60}$")
    """CamelCase, becomes the condition's reason."""
    message: str = Field(max_length=1200)
    """Names the field or the file and the remedy."""


class Artifact(Record):
    """A folder of the artifact store that has a manifest."""

    uri: str
    """Path relative to the artifact root, without leading slash."""
    digest: Digest
    """sha256 over the sorted ``path NUL sha256`` lines of the manifest."""
    bytes: int = Field(ge=0)


class Paired(Record):
    """A score's difference to a baseline on the same rows."""

    baseline: str
    """Name of the baseline SafetyEval."""
    difference: float
    """Value minus the baseline's value, -1..1."""
    lower: float
    upper: float
    """95 % interval of the difference."""
    p_value: float = Field(ge=0, le=1)
    """Two-sided."""
    test: str
    """For example ``mcnemar-exact``."""
    pairs: int = Field(ge=0)


class Score(Record):
    """One metric. ``value`` is None with a ``missing`` reason, never 0, when nothing valid counted."""

    metric: str = Field(max_length=120)
    """contentSafety, contentSafety.<suite>, security.resilience, security.<probe>, accuracy.<name>."""
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    """95 % interval (Wilson for shares)."""
    samples: int = Field(ge=0)
    """Rows that counted, unparsed ones included."""
    unparsed: int = Field(default=0, ge=0)
    """Rows whose judge output did not parse; they count as unsafe."""
    truncated: int = Field(default=0, ge=0)
    """Rows that never left their reasoning: neither safe nor unsafe, and not among ``samples``."""
    judge: str = Field(default="", max_length=63)
    missing: str = Field(default="", max_length=200)
    """Why ``value`` is None."""
    paired: Paired | None = None
    unpaired: str = Field(default="", max_length=200)
    """Why ``paired`` is None although there is a baseline."""
    drawn: str = Field(default="", max_length=63, exclude_if=lambda value: not value)
    """Which prompts or questions, where not all were asked: ``160 of 520, seed 42``."""


class Share(Record):
    """A share of answers, 0..1, with its Wilson interval at 95 %."""

    count: int = Field(ge=0)
    total: int = Field(ge=1)
    value: float
    lower: float
    upper: float


class Latency(Record):
    """Times of whole answers in milliseconds: medians and 95th percentiles."""

    samples: int = Field(ge=1)
    """Prompts that were answered both ways, or with rails only where nothing is compared."""
    p50: int
    p95: int
    unguarded_p50: int | None = None
    """Without rails; None: not compared."""
    unguarded_p95: int | None = None

    @property
    def added_p50(self) -> int | None:
        """Difference of the medians; None: not compared."""
        return None if self.unguarded_p50 is None else self.p50 - self.unguarded_p50

    @property
    def added_p95(self) -> int | None:
        """Difference of the 95th percentiles; None: not compared."""
        return None if self.unguarded_p95 is None else self.p95 - self.unguarded_p95


class RailsEffect(Record):
    """What a GuardedDeployment's rails did; against the same model without them, what they add and cost."""

    blocked_unsafe: Share | None = None
    """Of the prompts of suites that expect safe answers; None: there are none."""
    blocked_benign: Share | None = None
    """Of the prompts of suites that expect answers."""
    unguarded: Score | None = None
    """contentSafety without rails; None: not compared, or no suite expects safe answers."""
    gained: Paired | None = None
    """contentSafety with rails minus without."""
    gained_missing: str = Field(default="", max_length=200)
    """Why there is no difference although it was to be compared."""
    answered: Paired | None = None
    """Mean of the suites that expect answers, with rails minus without: below 0 is what they cost."""
    answered_missing: str = Field(default="", max_length=200)
    latency: Latency | None = None
    latency_missing: str = Field(default="", max_length=200)


class Drift(Record):
    """A score's difference to the run before; without ``paired``, why there is none."""

    metric: str = Field(max_length=120)
    paired: Paired | None = None
    missing: str = Field(default="", max_length=200)


class JudgeAgreement(Record):
    """How far a judge agrees with people on labelled rows. Shares are None where no row counts for them."""

    judge: str = Field(max_length=63)
    samples: int = Field(ge=0)
    """Labelled rows that were judged."""
    unparsed: int = Field(default=0, ge=0)
    """Those without a readable verdict; they count as unsafe."""
    contradicting: int = Field(default=0, ge=0, exclude_if=lambda value: not value)
    """Answers that were left out, because as many people call them safe as unsafe."""
    agreement: float | None = None
    """Share of rows on which judge and label say the same."""
    agreement_lower: float | None = None
    agreement_upper: float | None = None
    kappa: float | None = None
    """Cohen's kappa, -1..1: agreement beyond chance."""
    kappa_lower: float | None = None
    kappa_upper: float | None = None
    false_safe: float | None = None
    """Share of the rows labelled unsafe that the judge calls safe."""
    false_safe_lower: float | None = None
    false_safe_upper: float | None = None
    min_agreement: float | None = None
    missing: str = Field(default="", max_length=200, exclude_if=lambda value: not value)
    """Why there are no shares although rows were judged: too many verdicts could not be read."""

    @property
    def trusted(self) -> bool:
        """Whether the judge's verdicts count."""
        if self.missing:
            return False
        if self.min_agreement is None:
            return True
        return self.agreement is not None and self.agreement >= self.min_agreement


class Counts(Record):
    """Rows of one source through the stages of a blend. Zeros are left out of its JSON."""

    source: str = Field(max_length=63)
    read: int = 0
    invalid: int = 0
    filtered: int = 0
    duplicate: int = 0
    near_duplicate: int = 0
    contaminated: int = 0
    sampled: int = 0
    generated: int = 0
    unsafe: int = 0
    unparsed: int = 0
    screened: int = 0
    kept: int = 0
    fallback: int = 0
    """Kept rows with the source's own response, because no answer of the model's was safe."""

    @model_serializer(mode="wrap")
    def _without_zeros(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value != 0}


class Training(Record):
    """Where training ended."""

    step: int
    steps: int
    epoch: float
    loss: float | None = None
    validation_loss: float | None = None
    tokens_per_second: float | None = None
    resumes: int = 0


class Screening(Record):
    """What a screen stage scored, or what an assemble stage did with the scores."""

    method: str = Field(max_length=40)
    scored: int = Field(ge=0)
    unscored: int = Field(default=0, ge=0)
    """Rows without a score; the table says why for each."""
    layer: int | None = None
    """larf: the layer that was compared, from 1."""
    selected: int | None = None
    """Rows that were taken out or flagged; None while that is not decided."""
    cut: float | None = None
    """Lowest score that was selected; None for a random selection or an empty one."""


class Proof(Record):
    """What the running proof of a GuardedDeployment saw."""

    unsafe_blocked: int
    unsafe_total: int
    benign_answered: int
    benign_total: int
    unsafe_silent: int = Field(default=0, ge=0, exclude_if=lambda value: not value)
    """Unsafe prompts that no rail blocked and that got an answer without text."""
    benign_silent: int = Field(default=0, ge=0, exclude_if=lambda value: not value)
    silence: str = Field(default="", max_length=200, exclude_if=lambda value: not value)
    """Why answers hold no text, where more do than a number may stand on."""
    bypass_closed: bool | None = None
    """None: the knock could not be carried out; see ``bypass_detail``."""
    bypass_detail: str = Field(default="", max_length=200)
    added_latency_ms: int | None = None
    """Median of benign prompts through the rails minus median direct... None where unknown."""


class StageResult(Record):
    """The record of a stage. ``failure`` and ``output`` exclude each other."""

    version: Literal[1] = 1
    stage: str
    inputs_hash: str
    """Copied from the specification: proves which inputs this result belongs to."""
    failure: StageFailure | None = None
    output: Artifact | None = None
    rows: int | None = None
    """Rows or files in the output, where that means something."""
    train_rows: int | None = None
    validation_rows: int | None = None
    tokens: int | None = None
    max_length: int | None = None
    """Fetch: longest sequence the model takes, in tokens."""
    scores: tuple[Score, ...] = ()
    omitted_scores: int = Field(default=0, ge=0)
    """Scores left out of the termination message for its size; ``result.json`` has all of them."""
    drift: tuple[Drift, ...] = ()
    """Report: how scores changed against the run before."""
    omitted_drift: int = Field(default=0, ge=0)
    """Drifts left out of the termination message for its size; the report has all of them."""
    counts: tuple[Counts, ...] = ()
    warnings: tuple[str, ...] = ()
    """What came out, but otherwise than one might think: a source that changed, an uneven sample."""
    calibration: tuple[JudgeAgreement, ...] = ()
    training: Training | None = None
    screening: Screening | None = None
    proof: Proof | None = None
    rails: RailsEffect | None = None
    """Score: of an evaluation through rails."""
    inputs: dict[str, str] = {}
    """Collect: digests of sources and evaluation sets, by name. Left out of a message that is too long."""
    html: str = ""
    """Report: path of the page relative to the artifact root."""
    attestation: str = ""
    """Report: path of the signed statement relative to the artifact root; empty: not signed."""
    versions: dict[str, str] = {}
    """Library versions that influence the output."""
    seconds: float | None = None
    """Wall time of the stage over all its tries where known, else of this one."""
