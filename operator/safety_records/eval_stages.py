"""Stage specifications of a SafetyEval; judging is a SafetyBlend's too."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from safety_records.base import Record
from safety_records.data import Dataset
from safety_records.judges import CalibrationSettings, JudgeSettings
from safety_records.measures import GarakSettings, SuiteSettings, TaskSettings
from safety_records.result import MAX_METRIC, Score, Truth
from safety_records.sampling import RequestLimit, Sampling
from safety_records.stage_base import ServedModel, StageBase


class EvalSuite(SuiteSettings):
    """One content-safety suite."""

    name: str
    dataset: Dataset
    judge: str
    """Name of the judge; of several that vote, their names joined by ``+``."""
    judges: tuple[str, ...] = ()
    """Several judges that vote; empty: ``judge`` alone."""
    system: str = ""
    """System prompt of every row that has none of its own."""

    @property
    def voters(self) -> tuple[str, ...]:
        """The names of its judges."""
        return self.judges or (self.judge,)


class GenerateStage(StageBase, RequestLimit):
    """Answer every prompt of the suites. Output: ``rows-*.jsonl`` of GeneratedRow."""

    stage: Literal["generate"] = "generate"
    target: ServedModel
    rails: bool = False
    """Whether the target is a GuardedDeployment's endpoint, whose ``content_filter`` means a block."""
    timed: bool = False
    """Whether rows say how long their answers took. Then the same answers have another digest each time."""
    sampling: Sampling
    suites: tuple[EvalSuite, ...]


class CalibrationSpec(CalibrationSettings):
    """Labelled rows that a judge has to prove itself on."""

    dataset: Dataset
    """With columns prompt, response and label."""


class JudgeSpec(JudgeSettings):
    """A judge of (prompt, answer) pairs, with its model at hand."""

    served: ServedModel | None = None
    """Types that ask a model: where it is."""
    path: str = ""
    """type classifier: folder of its model relative to the artifact root; empty: one of the image."""
    digest: str = ""
    """Digest of the model in ``path``."""
    edition: str = ""
    """Of the rules of one of this project's own judges: other rules, other verdicts."""
    calibration: CalibrationSpec | None = None


class JudgeStage(StageBase, RequestLimit):
    """Judge generated rows. Output: ``verdicts-*.jsonl``, ``judges.json``, ``calibration.json``."""

    stage: Literal["judge"] = "judge"
    generated: str
    """Output folder of the generate (or answer) stage."""
    generated_hash: str = ""
    """Inputs hash of that stage, which may still be running: its rows are judged as they come. Empty: it has
    to be complete."""
    suites: tuple[EvalSuite, ...] = ()
    """SafetyEval: which judge for which suite. Empty (SafetyBlend): every judge judges every row."""
    judges: tuple[JudgeSpec, ...]


class ScanStage(StageBase, GarakSettings, Sampling):
    """garak, or one shard of it. Output: the report files and ``probes.json``.

    An answer without ``reasoning_end`` counts as not answered.
    """

    stage: Literal["scan"] = "scan"
    target: ServedModel
    probes: tuple[str, ...]
    """garak probe names such as ``dan.Dan_11_0``."""
    probe_timeout_seconds: int
    """Of one try of one probe."""


class BenchmarkTask(TaskSettings):
    """One accuracy entry: lm-eval tasks by name, or questions of one's own."""

    name: str
    dataset: Dataset | None = None
    """Columns question, answer and, unless answers are written, choices: a generated lm-eval task."""
    chat_template: bool = False
    reasoning_end: str = ""
    """End tag of a reasoning model: scored is what follows the last one. Through the chat template only."""
    token_env: str = ""
    """Variable with the hub's token; empty: none."""


class BenchmarkStage(StageBase, RequestLimit):
    """lm-eval. Output: its result files, per-sample logs and ``tasks.json``."""

    stage: Literal["benchmark"] = "benchmark"
    target: ServedModel
    accuracy: tuple[BenchmarkTask, ...]
    seed: int


class BaselineRef(Record):
    """The finished run to compare with, row by row."""

    name: str
    score: str
    """Output folder of its score stage."""


class ScoreStage(StageBase):
    """Verdicts, probes and tasks -> scores with intervals.

    Output: ``scores.json``, ``rows.parquet`` (one row per sample), ``identity.json`` (what each score was
    measured with: only equal ones are compared).
    """

    stage: Literal["score"] = "score"
    suites: tuple[EvalSuite, ...]
    generated: str = ""
    judged: str = ""
    rails: bool = False
    """Whether the suites were answered through rails: then it is counted what those blocked."""
    unguarded_generated: str = ""
    """Output folder of the same model's answers without rails; empty: they are not compared."""
    unguarded_judged: str = ""
    scanned: tuple[str, ...] = ()
    """Output folders of all shards of the scan."""
    benchmarked: str = ""
    baseline: BaselineRef | None = None
    previous: BaselineRef | None = None
    """The run before, of the same resource: compared in the same way, for the drift between the two."""
    keep: tuple[str, ...] = ()
    """Scores of single probes that a threshold names: the termination message holds few, and these go in."""


class ThresholdOutcome(Record):
    """A threshold and what it met."""

    metric: str = Field(max_length=MAX_METRIC)
    """Name of the metric, such as contentSafety.harmbench."""
    wanted: str = Field(max_length=64)
    """The bound in words, such as lower end >= 0.90."""
    got: str = Field(max_length=256)
    """What was measured, or why nothing was."""


class ThresholdVerdict(ThresholdOutcome):
    """A threshold and what it met, as reports say it; decided by the operator's planner."""

    passed: bool | None = None
    """None: undecided, the number is missing."""
    missing: bool = False
    """Whether the number is missing. A threshold over probes that gave none is not met, and yet the verdict
    rests on no missing number: it is Unknown unless a threshold with a number is not met."""


class GuardedTarget(Record):
    """A GuardedDeployment that is evaluated through its rails."""

    name: str = Field(max_length=253)
    """Its name."""
    model_digest: str = Field(max_length=71)
    """Digest of the model behind its rails."""
    rails_digest: str = Field(max_length=71)
    """Hash of the rails' configuration."""


class EvaluatedTarget(Record):
    """What was evaluated."""

    uri: str = Field(max_length=2048)
    """URI of the model, as the spec or its SafetyFinetune names it."""
    digest: str = Field(default="", max_length=71)
    """Digest of its files: what a gate compares; empty: an endpoint that states none. Of a GuardedDeployment:
    of model, rails and how both are served, never a model's."""
    guarded: GuardedTarget | None = None
    """The GuardedDeployment, where the target is one."""
    serving: Annotated[dict[str, Annotated[str, Field(max_length=320)]], Field(max_length=160)] | None = None
    """What changes answers and was set for its server, by field, argument or variable (``env.NAME``). Absent:
    an endpoint, which nobody here started."""


class ReportStage(StageBase):
    """``report.json`` and what is made from it: page, Markdown, JUnit, SARIF, a signed statement."""

    stage: Literal["report"] = "report"
    scored: str
    generated: str = ""
    judged: str = ""
    scanned: tuple[str, ...] = ()
    benchmarked: str = ""
    target_uri: str
    target_digest: str
    guarded: GuardedTarget | None = None
    """The GuardedDeployment that the target is; None: it is a model."""
    serving: dict[str, str] | None = None
    """As in :class:`EvaluatedTarget`."""
    suites: tuple[EvalSuite, ...] = ()
    judges: tuple[JudgeSpec, ...] = ()
    scores: tuple[Score, ...]
    thresholds: tuple[ThresholdVerdict, ...]
    verdict: Truth
    manifest: dict[str, JsonValue] = {}
    """The resource to apply for the same evaluation; empty where it is too long."""
    folders: tuple[str, ...] = ()
    """Names of this run's folders, next to its output: what is kept as long as its report is."""
    kept: tuple[str, ...] | None = None
    """Names of the report folders of earlier runs that are kept; the folders of all others are deleted. None:
    nothing is deleted."""
    signing_key_env: str = ""
    """Variable that holds the private key (PEM) which signs the statement about the report; empty: none."""
