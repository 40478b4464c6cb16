"""Stage specifications: what the operator asks of a worker pod.

The operator puts one of these as JSON into a ConfigMap that the pod mounts; ``safety-worker run --spec FILE``
reads it, by hand too. Secrets are never inside: a specification names environment variables that hold them.
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter

from safety_records.base import Record
from safety_records.data import Dataset, RowFormat, Sample, Source
from safety_records.judges import Agreement, CalibrationSettings, JudgeSettings
from safety_records.measures import GarakSettings, SuiteSettings, TaskSettings
from safety_records.numbers import NonNegative
from safety_records.result import MAX_METRIC, Score, Truth
from safety_records.sampling import AnswerSettings, Pick, Reasoning, RequestLimit, Sampling
from safety_records.screening import (
    AnchorSet,
    GradientOptions,
    ScreenCompute,
    ScreenMethod,
    ScreenSelection,
    ScreenSettings,
)
from safety_records.training import (
    BestCheckpoint,
    Device,
    Launcher,
    LongRows,
    NemoRlSettings,
    Precision,
    Strategy,
    TrainingBackend,
    TrainMethod,
    TrainSchedule,
)

SPEC_VARIABLE = "SAFETY_STAGE_SPEC"
"""Environment variable that holds the specification in runs by hand, where no file does."""


class ServedModel(Record):
    """An OpenAI-compatible server."""

    base_url: str
    """Up to and including ``/v1``."""
    pods_url: str = ""
    """The same with a host that resolves to the addresses of all its pods; empty: it is asked at base_url."""
    model: str
    """Name in the request's ``model`` field."""
    api_key_env: str = ""
    """Variable that holds the key; empty: none."""
    path: str = ""
    """Folder of the model relative to the artifact root (tokenizer, chat template); empty: an endpoint."""
    digest: str = ""
    max_length: int | None = None
    reasoning_parser: str = Field(default="", exclude_if=lambda value: not value)
    """Parser by which its server takes reasoning out of answers; empty: none, or not known."""


class StageBase(Record):
    """What every stage has."""

    namespace: str
    kind: str
    name: str
    inputs_hash: str
    """Hash of everything that influences the output."""
    root: str
    """Artifact root as an fsspec URI, for example ``file:///artifacts``."""
    out: str
    """Output folder relative to the root: ``<namespace>/<kind>/<name>/<run>/<stage>-<hash>``."""


MAX_CHAT_TEMPLATE_BYTES = 131_072
"""Of a chat template that a resource names; the longest published ones have 20 KB."""


class FetchStage(StageBase):
    """Copy a model into the store, under its digest: ``<namespace>/models/<digest hex>``. Idempotent."""

    stage: Literal["fetch"] = "fetch"
    uri: str
    token_env: str = ""
    base_uri: str = Field(default="", exclude_if=lambda value: not value)
    """Base model of an adapter; empty: what an adapter on a hub names, which is then recorded."""
    base_token_env: str = Field(default="", exclude_if=lambda value: not value)
    chat: bool = True
    """Whether it will be asked through a chat template and so must have one."""
    classifier: bool = Field(default=False, exclude_if=lambda value: not value)
    """Whether it is a text classifier, which may be an ONNX graph instead of safetensors."""
    chat_template: str = Field(default="", exclude_if=lambda value: not value)
    """``configmap://name/key`` of the chat template that takes the place of the model's own; empty: it keeps
    that."""


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


class CollectStage(StageBase, Sample):
    """Sources -> normalised, de-duplicated, sampled rows, and the retain part.

    Output: ``rows.jsonl`` of BlendRow and ``dropped.parquet`` (origin and reason).
    """

    stage: Literal["collect"] = "collect"
    sources: tuple[Source, ...]
    retain: tuple[Source, ...] = ()
    """Data that keeps the model able; a source's ``limit`` is its sample size."""
    near: float | None = Field(default=None, ge=0.5, le=1)
    """Jaccard similarity from which a prompt is a near duplicate and dropped; None: near duplicates stay."""
    against: tuple[Dataset, ...] = ()
    """Evaluation sets: rows found in them, or near one of them, are dropped as contaminated."""
    max_invalid: float
    """Share of malformed rows of a source from which the stage fails."""


class AnswerStage(StageBase, AnswerSettings):
    """On-policy answers for a blend. Output: ``rows-*.jsonl`` of GeneratedRow.

    Safety rows are asked with the refusal wrapper; retain rows without a response are asked as they are;
    retain rows with a response keep it.
    """

    stage: Literal["answer"] = "answer"
    collected: str
    target: ServedModel
    sampling: Sampling
    template: str = ""
    """Jinja template of the refusal wrapper with ``prompt`` and ``categories``; empty: the built-in one."""
    more_tokens: int | None = Field(default=None, ge=1)
    """New tokens of a second try for answers that ended at ``sampling.max_tokens``; None: there is none."""


class AnchorsStage(StageBase):
    """What screening compares rows with, read and checked before the model is asked for an answer.

    Output: ``anchors.json``.
    """

    stage: Literal["anchors"] = "anchors"
    harmful: AnchorSet
    safe: tuple[AnchorSet, ...] = ()
    layer_prompts: Dataset | None = None
    """larf: prompts whose refusals are counted to find the layer; None: those of the harmful anchors."""


class ChoosingRule(Record):
    """Which of the candidates of a row is trained on."""

    agreement: Agreement
    """How many judges must call it safe."""
    pick: Pick
    """Which safe candidate is kept."""
    reasoning: Reasoning
    """keep: answers are trained on with the reasoning before them."""
    reasoning_end: str = ""
    """End tag of the reasoning; empty: the model does not reason."""


class ScreenStage(StageBase, ChoosingRule, ScreenSettings, ScreenCompute):
    """Scores of rows by how much they resemble what breaks safety.

    Only rows that the judges pass are scored. Output: ``scores.parquet`` (a line per row and method) and
    ``screening.json`` (distributions, top rows, shares, overlaps). Which rows are taken out is decided when
    the blend is assembled. Working files are in ``<out>.work``, where all pods of the Job share them.
    """

    stage: Literal["screen"] = "screen"
    answered: str
    judged: str
    parts: tuple[Literal["safety", "retain"], ...] = Field(min_length=1)
    """Parts of the blend that are scored."""
    model: str
    """Folder of the model relative to the root."""
    methods: tuple[ScreenMethod, ...] = Field(min_length=1)
    """The first decides, the others are reported as well."""
    anchors: str
    """Output folder of the anchors stage."""
    gradient: GradientOptions
    batch_tokens: int = Field(ge=16)
    """Tokens of a batch, padding included; a longer row is a batch of its own."""
    device: Device


class AssembleStage(StageBase, ChoosingRule):
    """Keep what the judges call safe, split, write the training files.

    Output: ``train.jsonl``, ``validation.jsonl`` (or Parquet), ``rows.parquet`` (origin and outcome of rows),
    ``README.md`` (dataset card), ``lineage.json``.
    """

    stage: Literal["assemble"] = "assemble"
    collected: str
    answered: str
    judged: str
    screened: str = ""
    """Output folder of the screen stage; empty: nothing was screened."""
    selection: ScreenSelection | None = None
    """What is done with the scores; None if nothing was screened."""
    candidates: int = Field(ge=1)
    """Answers that the model was asked for, for the card."""
    on_unparsed: Literal["drop", "fail"]
    max_tokens: int
    """Longer rows (by the target's tokenizer and chat template) are dropped."""
    tokenizer: str = ""
    """Folder of the model relative to the root; empty: lengths are not checked, and the card tells so."""
    validation: float = Field(ge=0, lt=1)
    split_seed: int
    format: RowFormat
    lineage: dict[str, str] = {}
    """Digests of every input, model and image that the operator knows of."""


class TrainSettings(TrainSchedule):
    """How a model is trained, as a stage that prepares a training and the one that trains both have it."""

    backend: TrainingBackend = "trl"
    model: str
    """Folder of the base model relative to the root."""
    train: str
    """Training file relative to the root (JSONL or Parquet with ``messages``)."""
    validation: str = ""
    method: TrainMethod = TrainMethod()
    learning_rate: NonNegative
    global_batch: int = Field(ge=1)
    micro_batch: int = Field(ge=1)
    max_sequence_length: int = Field(ge=8)
    long_rows: LongRows = Field(default="cut", exclude_if=lambda value: value == "cut")
    packing: bool = Field(default=False, exclude_if=lambda value: not value)
    """Whether short rows share a sequence."""
    precision: Precision
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward pass, for memory."""
    seed: int = 42
    checkpoint_steps: int = Field(ge=1)
    checkpoint_keep: int = Field(ge=1)
    best: BestCheckpoint = Field(default="none", exclude_if=lambda value: value == "none")
    validation_steps: int = Field(ge=1)
    early_stop_after: int | None = Field(default=None, ge=1, exclude_if=lambda value: value is None)
    """Measurements of the validation loss without improvement after which training ends; None: never."""
    step_timeout_seconds: int | None = Field(default=None, ge=1)
    """A step that takes longer hangs; None: no limit."""
    device: Device
    nodes: int
    processes: int = Field(default=1, ge=1, exclude_if=lambda value: value == 1)
    """Of each node: one for each of its GPUs."""
    strategy: Strategy = Field(default="ddp", exclude_if=lambda value: value == "ddp")
    """Of several processes."""
    launcher: Launcher = "job"
    grace_seconds: int | None = Field(default=None, ge=1)
    """Time after SIGTERM for a last checkpoint; None: it is not known."""
    overrides: dict[str, bool | int | float | str] = {}
    """Raw arguments of the backend, merged last, recorded in the result's folder: of trl.SFTConfig, or dotted
    keys of NeMo-RL's configuration."""
    lineage: dict[str, str] = Field(default={}, exclude_if=lambda value: not value)
    """What ``base`` and ``data`` are called by the resource, for the report."""


class PrepareStage(StageBase, TrainSettings):
    """Check a training for NeMo-RL and write what it starts from, before a GPU is asked for.

    Output: ``config.yaml`` (complete, without the folders of the run), ``train.jsonl``, ``validation.jsonl``
    and ``plan.json``.
    """

    stage: Literal["prepare"] = "prepare"
    nemo_rl: NemoRlSettings = NemoRlSettings()


class TrainStage(StageBase, TrainSettings):
    """Supervised fine-tuning and checkpoints. Output: a Hugging Face model folder, if the backend exports.

    Working files (checkpoints, metrics.jsonl) are in ``<out>.work``, which a restarted pod continues from.
    """

    stage: Literal["train"] = "train"
    prepared: str = Field(default="", exclude_if=lambda value: not value)
    """Backend nemo-rl: output folder of the prepare stage."""


class ExportStage(StageBase):
    """A checkpoint of NeMo-RL -> a Hugging Face model folder, in the base's data type, adapters merged.

    Configuration, tokenizer and chat template are the base's own. Needs no GPU.
    """

    stage: Literal["export"] = "export"
    trained: str
    """Output folder of the train stage; its checkpoints are in ``<trained>.work``."""
    model: str
    """Folder of the base model relative to the root."""
    method: TrainMethod = TrainMethod()
    best: BestCheckpoint = "none"
    """Which checkpoint is exported; none: the last one."""


class ProveStage(StageBase):
    """Canary prompts to the guarded endpoint, bypass probes of the direct one."""

    stage: Literal["prove"] = "prove"
    guarded: ServedModel
    """The endpoint behind the rails."""
    direct: ServedModel
    """The model server itself: this pod is no guardrails pod, so it must not get an answer."""
    unsafe: tuple[str, ...]
    benign: tuple[str, ...]
    refusal: str
    """The rails' own refusal text: these words without the mark of a block are the model's own."""
    probe_timeout_seconds: float = 5.0


StageSpec = Annotated[
    FetchStage
    | GenerateStage
    | JudgeStage
    | ScanStage
    | BenchmarkStage
    | ScoreStage
    | ReportStage
    | CollectStage
    | AnswerStage
    | AnchorsStage
    | ScreenStage
    | AssembleStage
    | PrepareStage
    | TrainStage
    | ExportStage
    | ProveStage,
    Field(discriminator="stage"),
]

_ADAPTER: TypeAdapter[StageSpec] = TypeAdapter(StageSpec)


def parse_stage_spec(text: str) -> StageSpec:
    """The specification in a JSON text.

    Raises
    ------
    pydantic.ValidationError
        If the text is no valid specification.
    """
    return _ADAPTER.validate_json(text)
