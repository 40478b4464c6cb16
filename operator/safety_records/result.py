"""Result: what a stage leaves in its termination message, its proof of completion.

At most :data:`MAX_RESULT_BYTES` of UTF-8 JSON; everything larger is an artifact.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from safety_records.base import Record
from safety_records.model_shape import ModelShape
from safety_records.numbers import Measured, Probability
from safety_records.training import Strategy, TrainingNumbers

MAX_RESULT_BYTES = 3500
"""Kubernetes keeps 4,096 bytes of a termination message; the rest is head-room."""

MAX_METRIC = 120
"""Characters of a metric's name."""

Digest = str
"""``sha256:`` and 64 hexadecimal digits."""


Truth = Literal["True", "False", "Unknown"]
"""Whether something holds, as conditions say it; Unknown: it cannot be told."""


class FailureClass(StrEnum):
    """Whether trying again can help."""

    INPUT = "Input"
    """The specification or the data is wrong: a person must act. Exit code 42."""
    INFRASTRUCTURE = "Infrastructure"
    """Something around the stage failed: try again. Any other exit code."""


EXIT_KILLED = 137
"""Exit code of a container that SIGKILL ended: for its memory, where Kubernetes' reason is OOMKilled."""

EXIT_INPUT = 42
"""Exit code of a worker that failed for its input; the Job's pod failure policy fails at once."""


EXIT_INTERRUPTED = 143
"""Exit code of a worker that SIGTERM ended, or whose peers are gone: it goes on where it was. The Job's pod
failure policy does not count it."""


class StageFailure(Record):
    """Why a stage gave no result, in words for the person who can fix it."""

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


Why = Annotated[str, Field(max_length=200)]
"""Why there is no number; empty where there is one."""


class Paired(Record):
    """A score's difference to a baseline on the same rows."""

    baseline: str = Field(max_length=253)
    """What it is compared with: the name of a SafetyEval, the run before, or unguarded."""
    difference: Measured
    """Value minus the baseline's, from -1 to 1."""
    lower: Measured
    """Lower end of the 95 % interval of the difference."""
    upper: Measured
    """Upper end of the 95 % interval."""
    p_value: Probability = Field(ge=0, le=1)
    """Probability of such a difference by chance, two-sided."""
    test: str = Field(max_length=40)
    """Name of the test, such as mcnemar-exact."""
    pairs: int = Field(ge=0)
    """Rows that both evaluations have."""


class ScoreValue(Record):
    """A metric and its number, or why it has none."""

    metric: str = Field(max_length=MAX_METRIC)
    """Name of the metric: contentSafety, contentSafety.<suite>, security.resilience, security.<probe> or
    accuracy.<name>."""
    value: Measured | None = None
    """The score, from 0 to 1; absent when missing."""
    lower: Measured | None = None
    """Lower end of the 95 % interval (Wilson's for shares)."""
    upper: Measured | None = None
    """Upper end of the 95 % interval."""
    missing: Why = ""
    """Why there is no value."""


class Score(ScoreValue):
    """One score. A missing one has no value and says why; it is never 0 instead."""

    samples: int = Field(ge=0)
    """Rows that counted, unparsed ones included."""
    unparsed: int = Field(default=0, ge=0)
    """Rows whose verdict could not be read; they count as unsafe."""
    truncated: int = Field(default=0, ge=0)
    """Rows that never left their reasoning; they count neither way, and are not among samples."""
    judge: str = Field(default="", max_length=63)
    """Name of the judge; of several that vote, their names joined by +."""
    paired: Paired | None = None
    """Difference to the baseline on the same rows."""
    unpaired: Why = ""
    """Why there is no difference to the baseline, where one was asked for."""
    drawn: str = Field(default="", max_length=63, exclude_if=lambda value: not value)
    """Which prompts or questions, where limit left some out: how many of how many, and the seed, or the first
    ones."""


class Share(Record):
    """A share of answers with its interval."""

    count: int = Field(ge=0)
    """Answers that it is about."""
    total: int = Field(ge=1)
    """Answers in all."""
    value: Measured
    """The share, from 0 to 1."""
    lower: Measured
    """Lower end of its 95 % interval (Wilson's)."""
    upper: Measured
    """Upper end of the 95 % interval."""


class Latency(Record):
    """Times of whole answers of the model, in milliseconds; blocked ones do not count."""

    samples: int = Field(ge=1)
    """Prompts that were answered, both ways if compared."""
    p50: int = Field(ge=0)
    """Median through the rails."""
    p95: int = Field(ge=0)
    """95th percentile through the rails."""
    unguarded_p50: int | None = Field(default=None, ge=0)
    """Median without them; absent: not compared."""
    unguarded_p95: int | None = Field(default=None, ge=0)
    """95th percentile without them."""

    added_p50: int | None = None
    """Difference of the medians: what the rails add."""
    added_p95: int | None = None
    """Difference of the 95th percentiles."""


class RailsEffect(Record):
    """What a GuardedDeployment's rails did; against the same model without them, what they add and cost."""

    blocked_unsafe: Share | None = None
    """Answers blocked in suites with expect: safe; absent: there are none."""
    blocked_benign: Share | None = None
    """Answers blocked in suites with expect: answer; absent: there are none."""
    unguarded: Score | None = None
    """contentSafety of the same model without rails; absent: not compared, or no suite has expect: safe."""
    gained: Paired | None = None
    """contentSafety with rails minus without, on the same prompts."""
    gained_missing: Why = ""
    """Why there is no such difference although it was to be compared."""
    answered: Paired | None = None
    """Mean of the suites with expect: answer, with rails minus without: below 0 is what the rails cost."""
    answered_missing: Why = ""
    """Why there is no such difference."""
    latency: Latency | None = None
    """Times of answers in milliseconds."""
    latency_missing: Why = ""
    """Why latencies are missing."""


class Drift(Record):
    """How a score changed against the run before, on the rows that both have."""

    metric: str = Field(max_length=MAX_METRIC)
    """Name of the metric, such as contentSafety.harmbench."""
    paired: Paired | None = None
    """Value minus that of the run before."""
    missing: Why = ""
    """Why the two cannot be compared."""


class JudgeAgreement(Record):
    """How far a judge agrees with people on labelled rows. A share that no row counts for is absent."""

    judge: str = Field(max_length=63)
    """Name of a judge in spec.judges."""
    samples: int = Field(ge=0)
    """Labelled rows that were judged."""
    unparsed: int = Field(default=0, ge=0)
    """Those without a readable verdict; they count as unsafe."""
    contradicting: int = Field(default=0, ge=0, exclude_if=lambda value: not value)
    """Answers that were left out, because as many people call them safe as unsafe."""
    agreement: Measured | None = None
    """Share of rows on which judge and label say the same."""
    agreement_lower: Measured | None = None
    """Lower end of its 95 % interval."""
    agreement_upper: Measured | None = None
    """Upper end of its 95 % interval."""
    kappa: Measured | None = None
    """Cohen's kappa: agreement beyond chance, from -1 to 1."""
    kappa_lower: Measured | None = None
    """Lower end of its 95 % interval."""
    kappa_upper: Measured | None = None
    """Upper end of its 95 % interval."""
    false_safe: Measured | None = None
    """Share of rows labelled unsafe that the judge calls safe."""
    false_safe_lower: Measured | None = None
    """Lower end of its 95 % interval."""
    false_safe_upper: Measured | None = None
    """Upper end of its 95 % interval."""
    min_agreement: Measured | None = None
    """Share that calibration.minAgreement asks for; absent: none."""
    missing: str = Field(default="", max_length=200, exclude_if=lambda value: not value)
    """Why there are no shares although rows were judged: too many verdicts could not be read."""

    @property
    def is_trusted(self) -> bool:
        """Whether the judge's verdicts count."""
        if self.missing:
            return False
        if self.min_agreement is None:
            return True
        return self.agreement is not None and self.agreement >= self.min_agreement


class Counts(Record):
    """Rows of one source through the stages of a blend. A number that is absent is 0."""

    source: str = Field(max_length=63)
    """Name of the source in spec.sources or spec.retain."""
    read: int = 0
    """Records read from the source."""
    invalid: int = 0
    """Records that could not be read as rows."""
    filtered: int = 0
    """Rows left out by a preset, by filters or by categories."""
    duplicate: int = 0
    """Rows whose prompt was there already."""
    near_duplicate: int = 0
    """Rows whose prompt was there in nearly these words."""
    contaminated: int = 0
    """Rows whose prompt is in an evaluation set, or nearly."""
    sampled: int = 0
    """Rows drawn by sample, size, ratio or subsets."""
    generated: int = 0
    """Rows with an answer of the model."""
    unsafe: int = 0
    """Rows whose answers were all judged unsafe."""
    unparsed: int = 0
    """Rows whose verdict could not be read."""
    screened: int = 0
    """Rows taken out by screening."""
    kept: int = 0
    """Rows of the source that are in the output."""
    fallback: int = 0
    """Kept rows with the source's own response, because no answer of the model's was safe."""

    @model_serializer(mode="wrap")
    def _without_zeros(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value != 0}


class Training(TrainingNumbers):
    """Where training is, or where it ended."""

    step: int | None = Field(default=None, ge=0)
    """Optimizer steps that are done."""
    steps: int | None = Field(default=None, ge=0)
    """Optimizer steps that the training has in all."""
    processes: int | None = Field(default=None, ge=1)
    """Processes that train together, over all pods."""
    strategy: Strategy | None = None
    """How they share the model; absent for one process."""
    best_step: int | None = Field(default=None, ge=0)
    """Step of the checkpoint that became the model, where that is the best one."""
    stopped_early: bool | None = None
    """Whether training ended before its last step, because the validation loss had stopped falling."""


class ScreeningResult(Record):
    """What a screen stage scored, or what an assemble stage did with the scores."""

    method: str = Field(max_length=40)
    """The screening method whose scores decide."""
    scored: int = Field(default=0, ge=0)
    """Rows that got a score."""
    unscored: int = Field(default=0, ge=0)
    """Rows that could not be scored; the table says why for each."""
    layer: int | None = Field(default=None, ge=1)
    """larf: the layer that was compared, from 1."""
    selected: int | None = Field(default=None, ge=0)
    """Rows that were taken out or flagged, unscored ones included; absent while that is not decided."""
    cut: Measured | None = None
    """Lowest score that was taken; absent for a random selection, and where none was."""


class OutsideProbe(Record):
    """What the bypass probe saw from a namespace that is not the model's."""

    namespace: str = Field(default="", max_length=63)
    """From where; empty: it was not tried, and ``detail`` says why."""
    closed: bool | None = None
    """None: it was not tried, or could not be carried out."""
    detail: str = Field(default="", max_length=200)


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
    """None: the bypass probe could not be carried out; see ``bypass_detail``."""
    bypass_detail: str = Field(default="", max_length=200)
    outside: OutsideProbe | None = Field(default=None, exclude_if=lambda value: value is None)
    """The same from another namespace; the operator adds it to what the proof's own pod saw."""


class ModelOrigin(Record):
    """What a model was made of."""

    uri: str = Field(max_length=1024)
    """With the commit, where it comes from a hub."""
    digest: Digest


class MergedModel(Record):
    """A model that was merged from an adapter and its base; its own digest is that of the result."""

    adapter: ModelOrigin
    base: ModelOrigin


class Pushed(Record):
    """Where a model was pushed to."""

    uri: str = Field(max_length=1100)
    """What names this very content where the target can tell: with the commit, or the digest."""
    revision: str = Field(default="", max_length=71)
    """Commit of a hub, digest of an image's manifest; empty for a bucket, which has none."""


class ChatTemplateKind(Record):
    """What a chat template does with a short conversation, rendered as a server and as a trainer would."""

    opens: str = Field(default="", max_length=40)
    """Tag of reasoning that it opens behind every prompt, such as <think>; empty: none."""
    drops_reasoning: bool = False
    """Whether it leaves reasoning out of turns that are over."""
    problem: str = Field(default="", max_length=200)
    """Why a model cannot be trained through it; empty: it can."""


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
    chat_template: ChatTemplateKind | None = None
    """Fetch: of a model that is asked through a chat template, what that does."""
    shape: ModelShape | None = Field(default=None, exclude_if=lambda value: value is None)
    """Fetch: sizes of the model; absent where its files do not say."""
    free_bytes: int | None = Field(default=None, ge=0, exclude_if=lambda value: value is None)
    """Fetch: room on the artifact store once the model is there; absent where it cannot be told."""
    merged: MergedModel | None = Field(default=None, exclude_if=lambda value: value is None)
    """Fetch: of a model that was published as an adapter."""
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
    screening: ScreeningResult | None = None
    proof: Proof | None = None
    outside: OutsideProbe | None = Field(default=None, exclude_if=lambda value: value is None)
    """Probe: what it saw."""
    rails: RailsEffect | None = None
    """Score: of an evaluation through rails."""
    inputs: dict[str, str] = {}
    """Collect: digests of sources and evaluation sets, by name. Left out of a message that is too long."""
    html: str = ""
    """Report, train: path of the page relative to the artifact root."""
    report: Artifact | None = Field(default=None, exclude_if=lambda value: value is None)
    """Train: the folder with page, model card and metrics, next to the model."""
    pushed: Pushed | None = Field(default=None, exclude_if=lambda value: value is None)
    """Push: where the model is."""
    attestation: str = ""
    """Report: path of the signed statement relative to the artifact root; empty: not signed."""
    versions: dict[str, str] = {}
    """Library versions that influence the output."""
    seconds: float | None = None
    """Wall time of the stage over all its tries where known, else of this one."""
