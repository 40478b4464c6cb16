"""SafetyEval: how safe, how robust and how able is this model?"""

from typing import Annotated, Literal

from pydantic import Field

from safety_operator.api.common import (
    ApiModel,
    DataUri,
    Duration,
    NamedRef,
    PromptData,
    SecretKeyRef,
    Serving,
    Share,
)
from safety_operator.api.conditions import ArtifactStatus, CommonStatus
from safety_operator.api.judges import SEEING_REFUSALS, Judge, refusals_are_seen
from safety_operator.api.pods import EvalPods
from safety_operator.api.run import RunSpec
from safety_operator.api.schedule import Cron, RerunStatus, RunIdentity, RunStatus, ScheduleStatus, TimeZone
from safety_operator.api.through_rails import (
    COMPARE_RULES,
    EvalTarget,
)
from safety_records.measures import GarakSettings, SuiteSettings, TaskSettings
from safety_records.result import RailsEffect, Score
from safety_records.sampling import Sampling
from safety_records.schema import NAMED_LIST, SET, Name, config, shaped
from safety_records.stages import GuardedTarget

MAX_METRIC = 120
"""Characters of a metric's name."""


class Suite(SuiteSettings, ApiModel):
    """A set of prompts, answered by the model and judged."""

    model_config = config(
        ("has(self.judge) != has(self.judges)", "name one judge in judge, or several that vote in judges"),
        ("has(self.judges) || !has(self.agreement)", "agreement is about several judges: remove it"),
        (
            (
                "!has(self.dataset.preset) || "
                "(self.dataset.preset == 'xstest') == (has(self.expect) && self.expect == 'answer')"
            ),
            (
                "xstest holds harmless prompts and the other presets harmful ones: set expect: answer for "
                "xstest, and for no other preset"
            ),
        ),
    )
    name: Name = Field(description="Name of the suite; its metric is contentSafety.<name>.")
    dataset: PromptData = Field(
        description="Where the suite's prompts come from: a preset, a uri, or both for a copy of a preset."
    )
    judge: Name | None = Field(default=None, description="Name of a judge in spec.judges.")
    judges: Annotated[list[Name], Field(min_length=2, max_length=8, json_schema_extra=SET)] | None = Field(
        default=None, description="Names of several judges that vote."
    )
    system_prompt: Annotated[str, Field(min_length=1, max_length=16384)] | None = Field(
        default=None, description="System prompt of all rows that have none of their own."
    )
    limit: Annotated[int, Field(ge=1, le=1000000)] | None = Field(
        default=None, description="Prompts drawn at random with the sampling seed; all where absent."
    )


ProbeSpec = Annotated[
    str,
    shaped(
        r"^[a-z_0-9]+(\.[A-Za-z_0-9]+)?$",
        "name tier1, tier2, a family of garak's probes such as dan, or a single probe such as dan.Dan_11_0",
        max_length=128,
    ),
]
"""A list of the blueprint, a family of probes, or one probe."""


class Garak(GarakSettings, ApiModel):
    """A garak scan."""

    model_config = config(
        (
            "!has(self.cache) || has(self.downloads) && self.downloads == 'allow'",
            "a cache stands in for downloads: set downloads: allow, or remove it",
        ),
    )
    probes: Annotated[list[ProbeSpec], Field(min_length=1, max_length=200)] = Field(
        description="What to run: tier1 and tier2 are the 31 and 44 probes of NVIDIA's safety blueprint; dan "
        "is every active probe of a family; dan.Dan_11_0 is one probe."
    )
    exclude: Annotated[list[ProbeSpec], Field(max_length=200)] = Field(
        default=[], description="Probes, families or lists that are left out of it."
    )
    shards: Annotated[int, Field(ge=1, le=32)] = Field(
        default=1, description="Jobs that share the probes, balanced by the number of their prompts."
    )
    max_tokens: Annotated[int, Field(ge=1, le=131072)] | None = Field(
        default=None,
        description="New tokens of an answer. Where absent: 150, with which garak's calibration was made; "
        "sampling.maxTokens for a reasoning model, which would not reach its answer.",
    )
    probe_timeout: Duration = Field(
        default="30m", description="Time for one try of one probe; a probe that fails is tried once more."
    )


class Security(ApiModel):
    """Red-team scans."""

    garak: Garak = Field(description="A scan with garak's probes.")


AccuracyPreset = Literal["gpqa-diamond", "math-500", "ifeval"]
"""Exams by name: task of lm-eval, metric and chat template are known."""


class AccuracyTask(TaskSettings, ApiModel):
    """An accuracy measurement: a known exam, lm-eval tasks by name, or questions of your own."""

    model_config = config(
        (
            (
                "[has(self.preset), has(self.tasks) && size(self.tasks) > 0, has(self.dataset)]"
                ".filter(x, x).size() == 1"
            ),
            "name exactly one of preset, tasks of lm-eval and a dataset of your own",
        ),
        (
            (
                "!has(self.dataset) || ![has(self.metric), has(self.cache), "
                "has(self.tokenSecretRef)].exists(x, x)"
            ),
            (
                "a dataset of your own is read where it is and its score is the share of right "
                "answers: leave out metric, cache and tokenSecretRef"
            ),
        ),
        (
            ("!has(self.dataset) || has(self.answers) && self.answers == 'written' || !has(self.generation)"),
            "choices are scored by log-likelihood: leave out generation, or set answers: written",
        ),
        (
            "has(self.dataset) || !has(self.answers)",
            "answers is about a dataset of your own: remove it",
        ),
        (
            "!has(self.answerPattern) || has(self.answers) && self.answers == 'written'",
            "answerPattern finds the answer in what the model wrote: set answers: written, or remove it",
        ),
        (
            "!has(self.cache) || !has(self.tokenSecretRef)",
            "a cache is read offline, where no token is needed: give cache or tokenSecretRef, not both",
        ),
        (
            (
                "!has(self.preset) || self.preset != 'gpqa-diamond' || has(self.tokenSecretRef) || "
                "has(self.cache)"
            ),
            "gpqa-diamond is gated: accept its terms on the hub and give tokenSecretRef, or a filled cache",
        ),
        (
            (
                f"!has(self.tasks) || size(self.tasks) < 2 || self.tasks.all(t, "
                f"size('accuracy.' + self.name + '.' + t) <= {MAX_METRIC})"
            ),
            (
                f"accuracy.<name>.<task> has at most {MAX_METRIC} characters: shorten name, or give the task "
                "an entry of its own"
            ),
        ),
    )
    name: Name = Field(
        description="Name of the entry; its metric is accuracy.<name>, or accuracy.<name>.<task> for each "
        "of several tasks."
    )
    harness: Literal["lm-eval"] = Field(
        default="lm-eval", description="Benchmark harness; lm-eval is the only one."
    )
    preset: AccuracyPreset | None = Field(
        default=None,
        description="gpqa-diamond (198 questions, gated), math-500 or ifeval, through the chat template.",
    )
    dataset: DataUri | None = Field(
        default=None,
        description="JSON lines with question, choices and answer (index from 0), scored by log-likelihood; "
        "with answers: written question and answer (a text, or a list of texts that are right).",
    )
    chat_template: bool | None = Field(
        default=None,
        description="Ask through the model's chat template; where absent presets and written answers do and "
        "others do not.",
    )
    token_secret_ref: SecretKeyRef | None = Field(default=None, description="Hub token for gated data sets.")


class Threshold(ApiModel):
    """A bound that a score has to meet: a smallest value, or a largest drop against the baseline."""

    model_config = config(
        ("has(self.min) != has(self.maxDrop)", "give either min or maxDrop; write two thresholds for both"),
        (
            "!has(self.maxDrop) || !self.metric.startsWith('security.')",
            "maxDrop compares row by row, which security scores do not have: use min",
        ),
    )
    metric: Annotated[
        str,
        shaped(
            r"^(contentSafety|(contentSafety|security|accuracy)\.[A-Za-z0-9_.()+:@-]+)$",
            "name a metric: contentSafety, contentSafety.<suite>, security.resilience, security.<probe> or "
            "accuracy.<name>",
            max_length=MAX_METRIC,
        ),
    ] = Field(
        description="contentSafety, contentSafety.<suite>, security.resilience, security.<probe>, "
        "accuracy.<name> or accuracy.<name>.<task>."
    )
    min: Share | None = Field(
        default=None, description="Smallest value that passes, from 0 to 1 (bound says which value)."
    )
    max_drop: Share | None = Field(
        default=None,
        description="Largest drop against baselineRef that passes, on the rows that both have. Undecided "
        "where judge, data set or sampling differ.",
    )
    bound: Literal["lower", "point"] = Field(
        default="lower",
        description="What must reach it: lower: the lower end of the 95 % interval (of the paired difference "
        "for maxDrop); point: the value.",
    )


class ReportSettings(ApiModel):
    """How the report is made."""

    signing_key_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="Private key (PEM: Ed25519, ECDSA or RSA, not encrypted) that signs a statement about "
        "the report: in-toto, in a DSSE envelope, its subject the model's digest. Absent: nothing is signed.",
    )


class SafetyEvalSpec(RunSpec):
    """What to evaluate, how, and what counts as passed."""

    model_config = config(
        (
            (
                "has(self.contentSafety) && size(self.contentSafety) > 0 || has(self.security) || "
                "has(self.accuracy) && size(self.accuracy) > 0"
            ),
            "measure something: add contentSafety, security or accuracy",
        ),
        (
            (
                "!has(self.contentSafety) || self.contentSafety.all(s, has(self.judges) && "
                "(has(s.judge) ? self.judges.exists(j, j.name == s.judge) : has(s.judges) && "
                "s.judges.all(n, self.judges.exists(j, j.name == n))))"
            ),
            "every suite in contentSafety must name a judge that is listed in judges",
        ),
        (
            (
                "!has(self.contentSafety) || self.contentSafety.all(s, "
                "!has(s.expect) || s.expect != 'answer' || "
                "has(self.judges) && (has(s.judge) ? self.judges.exists(j, j.name == s.judge && "
                f"{refusals_are_seen('j')}) : has(s.judges) && "
                "s.judges.all(n, self.judges.exists(j, j.name == n && "
                f"{refusals_are_seen('j')}))))"
            ),
            f"a suite with expect: answer counts refusals: give it a judge of type {SEEING_REFUSALS}",
        ),
        (
            (
                "!has(self.thresholds) || self.thresholds.all(t, t.metric.startsWith('contentSafety.') ? "
                "has(self.contentSafety) && "
                "self.contentSafety.exists(s, t.metric == 'contentSafety.' + s.name) : "
                "t.metric.startsWith('accuracy.') ? "
                "has(self.accuracy) && self.accuracy.exists(a, has(a.tasks) && size(a.tasks) > 0 && "
                "t.metric.startsWith('accuracy.' + a.name + '.') || "
                "(!has(a.tasks) || size(a.tasks) < 2) && t.metric == 'accuracy.' + a.name) : "
                "t.metric == 'contentSafety' ? has(self.contentSafety) : has(self.security) && "
                "(t.metric == 'security.resilience' || "
                "self.security.garak.probes.exists(p, p in ['tier1', 'tier2'] || "
                "t.metric == 'security.' + p || t.metric.startsWith('security.' + p + '.'))))"
            ),
            (
                "a threshold names a metric that this spec does not measure: add the measurement, or "
                "correct the name (contentSafety, contentSafety.<suite>, security.resilience, "
                "security.<probe>, accuracy.<name>)"
            ),
        ),
        (
            "!has(self.thresholds) || has(self.baselineRef) || !self.thresholds.exists(t, has(t.maxDrop))",
            "maxDrop compares with a baseline: name one in baselineRef",
        ),
        (
            "!has(self.timeZone) || has(self.schedule)",
            "timeZone belongs to a schedule: add one, or remove it",
        ),
        (
            "!has(self.timeZone) || timestamp('2026-01-01T00:00:00Z').getHours(self.timeZone) >= 0",
            "name a time zone of the IANA database in timeZone, such as Europe/Zurich",
        ),
        (
            (
                "!has(self.security) || !has(self.security.garak.generations) || "
                "self.security.garak.generations == 1 || has(self.sampling) && "
                "has(self.sampling.temperature) && "
                "!self.sampling.temperature.matches('^0+([.]0*)?([eE]|$)')"
            ),
            (
                "at temperature 0 every answer to a prompt is the same: set sampling.temperature above 0, or "
                "leave out security.garak.generations"
            ),
        ),
        (
            (
                "!has(self.report) || !has(self.report.signingKeySecretRef) || !has(self.model.endpoint) || "
                "has(self.model.endpoint.digest)"
            ),
            (
                "a signed report names the model by its digest: set model.endpoint.digest, or remove "
                "report.signingKeySecretRef"
            ),
        ),
        (
            (
                "!has(self.model.endpoint) || !has(self.accuracy) || !self.accuracy.exists(a, has(a.dataset) "
                "&& (!has(a.answers) || a.answers != 'written'))"
            ),
            (
                "choices of a dataset are scored by log-likelihood, which takes the model's tokenizer and "
                "not only an endpoint: set answers: written, or evaluate the model's source"
            ),
        ),
        *COMPARE_RULES,
    )
    pod: EvalPods = Field(
        default=EvalPods(), description="Options of all pods of this resource, over the chart's pods."
    )
    model: EvalTarget = Field(description="The model, server or guarded endpoint to evaluate.")
    compare: Literal["unguarded"] | None = Field(
        default=None,
        description="unguarded: also ask the same model without the rails of the GuardedDeployment, at a "
        "temporary server of this evaluation, and report what the rails add and cost.",
    )
    serving: Serving = Field(
        default=Serving(), description="How the model is served, unless it is an endpoint."
    )
    sampling: Sampling = Field(default=Sampling(), description="How answers are drawn.")
    concurrency: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=32,
        description="Requests at a time at most, to the model (from suites, and from lm-eval) and to each "
        "judge; those of suites and judges are fewer while a server refuses them or gets no faster. garak "
        "has a parallelism of its own.",
    )
    judges: Annotated[
        list[Judge],
        Field(
            max_length=8,
            json_schema_extra=NAMED_LIST,
        ),
    ] = Field(default=[], description="Who decides whether an answer is safe.")
    content_safety: Annotated[
        list[Suite],
        Field(
            max_length=16,
            json_schema_extra=NAMED_LIST,
        ),
    ] = Field(default=[], description="Suites of prompts whose answers judges read; each gives a score.")
    security: Security | None = Field(
        default=None, description="Scans with known attacks (garak); they give security.* scores."
    )
    accuracy: Annotated[
        list[AccuracyTask],
        Field(
            max_length=16,
            json_schema_extra=NAMED_LIST,
        ),
    ] = Field(
        default=[],
        description="Benchmarks (lm-eval, or questions of your own); each gives accuracy.* scores.",
    )
    thresholds: Annotated[list[Threshold], Field(max_length=32)] = Field(
        default=[], description="What counts as passed; without any there is no verdict."
    )
    report: ReportSettings = Field(default=ReportSettings(), description="How the report is made.")
    baseline_ref: NamedRef | None = Field(
        default=None,
        description="A finished SafetyEval of this namespace to compare with, row by row (paired test).",
    )
    schedule: Cron | None = Field(
        default=None,
        description="Evaluate again at these times of cron (minute, hour, day of month, month, day of week). "
        "The results of the run before stay until the new run has finished. Times that pass while a run goes "
        "on are covered by it; however many pass while nothing can run, one run makes up for them.",
    )
    time_zone: TimeZone | None = Field(
        default=None, description="Time zone of the schedule, such as Europe/Zurich; UTC where absent."
    )
    history_limit: Annotated[int, Field(ge=1, le=20)] = Field(
        default=5,
        description="Runs that status.history keeps; the folders of older ones are deleted from the "
        "claim when the next report is written.",
    )


class JudgeStatus(ApiModel):
    """How far a calibrated judge agrees with people. Empty values: no row counts for them."""

    name: Annotated[str, Field(max_length=63)] = Field(description="Name of a judge in spec.judges.")
    samples: Annotated[int, Field(ge=0)] = Field(description="Labelled rows that were judged.")
    unparsed: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Those without a readable verdict; they count as unsafe."
    )
    agreement: Annotated[str, Field(max_length=24)] = Field(
        default="", description="Share of rows on which judge and label say the same."
    )
    agreement_interval: Annotated[str, Field(max_length=40)] = Field(
        default="", description="95 % interval of the number of the same name."
    )
    kappa: Annotated[str, Field(max_length=24)] = Field(
        default="", description="Cohen's kappa: agreement beyond chance, from -1 to 1."
    )
    kappa_interval: Annotated[str, Field(max_length=40)] = Field(
        default="", description="95 % interval of the number of the same name."
    )
    false_safe: Annotated[str, Field(max_length=24)] = Field(
        default="", description="Share of rows labelled unsafe that the judge calls safe."
    )
    false_safe_interval: Annotated[str, Field(max_length=40)] = Field(
        default="", description="95 % interval of the number of the same name."
    )
    trusted: bool = Field(description="Whether minAgreement is met, or there is none.")
    missing: Annotated[str, Field(max_length=200)] = Field(
        default="", description="Why there are no shares although rows were judged."
    )


class ThresholdStatus(ApiModel):
    """A threshold and what it met."""

    metric: Annotated[str, Field(max_length=MAX_METRIC)] = Field(
        description="Name of the metric, such as contentSafety.harmbench."
    )
    wanted: Annotated[str, Field(max_length=64)] = Field(
        description="The bound in words, such as lower end >= 0.90."
    )
    got: Annotated[str, Field(max_length=256)] = Field(description="What was measured, or why nothing was.")
    passed: Literal["True", "False", "Unknown"] = Field(
        description="Whether the bound is met. Unknown: the number is missing. A bound on probes without a "
        "number is not met; SafetyPassed is then Unknown all the same."
    )


class TargetStatus(ApiModel):
    """What was evaluated."""

    uri: Annotated[str, Field(max_length=2048)] = Field(
        default="", description="URI of the model, as the spec or its SafetyFinetune names it."
    )
    digest: Annotated[str, Field(max_length=71)] = Field(
        default="",
        description="Digest of its files: what a gate compares. Of a GuardedDeployment: of model, rails and "
        "how both are served.",
    )
    guarded: GuardedTarget | None = Field(
        default=None, description="The GuardedDeployment, where the target is one."
    )


class EvalSummary(ApiModel):
    """The main numbers, for the printer columns."""

    content_safety: Annotated[str, Field(max_length=24)] = Field(
        default="", description="Share of safe answers over all suites."
    )
    security: Annotated[str, Field(max_length=24)] = Field(
        default="", description="Share of attacks that the model withstood."
    )
    accuracy: Annotated[str, Field(max_length=24)] = Field(
        default="", description="Mean accuracy; empty where an entry has none."
    )


class ReportStatus(ArtifactStatus):
    """Where the report is."""

    html: Annotated[str, Field(max_length=2048)] = Field(
        default="", description="The report's page for people, as pvc://claim/path."
    )
    attestation: Annotated[str, Field(max_length=2048)] = Field(
        default="", description="pvc://claim/path of the signed statement; empty: the report is not signed."
    )


class SafetyEvalStatus(CommonStatus):
    """What came out."""

    target: TargetStatus | None = Field(
        default=None, description="The model or endpoint that was evaluated, by digest."
    )
    summary: EvalSummary | None = Field(
        default=None, description="The main numbers, for the columns of kubectl get."
    )
    scores: Annotated[tuple[Score, ...], Field(max_length=256)] = Field(
        default=(),
        description="Scores with 95 % intervals, by metric; those of single probes as far as they fit.",
    )
    omitted_scores: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Scores of single probes that have no room here; the report has all. Those that a "
        "threshold names come first.",
    )
    rails: RailsEffect | None = Field(default=None, description="What the rails of a GuardedDeployment did.")
    judges: Annotated[list[JudgeStatus], Field(max_length=8)] = Field(
        default=[], description="The calibrated judges and how far they agree with people."
    )
    thresholds: Annotated[list[ThresholdStatus], Field(max_length=32)] = Field(
        default=[], description="All thresholds and what they met."
    )
    report: ReportStatus | None = Field(default=None, description="Where the report's files are.")
    run: RunIdentity | None = Field(
        default=None, description="Which run of the schedule the results are of; absent for the first one."
    )
    schedule: ScheduleStatus | None = Field(default=None, description="The schedule as it is followed.")
    rerun: RerunStatus | None = Field(default=None, description="The new evaluation that is going on.")
    history: Annotated[list[RunStatus], Field(max_length=20)] = Field(
        default=[], description="Runs of the schedule, the newest first."
    )
