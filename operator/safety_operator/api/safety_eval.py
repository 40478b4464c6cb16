"""SafetyEval: how safe, how robust and how able is this model?"""

from typing import Annotated, Literal

from pydantic import Field

from safety_operator.api.common import ApiModel, NamedRef, SecretKeyRef, Serving, Share
from safety_operator.api.eval_measures import AccuracyTask, Security, Suite
from safety_operator.api.judges import SEEING_REFUSALS, Judge, refusals_are_seen
from safety_operator.api.pods import EvalPods
from safety_operator.api.run import RunSpec
from safety_operator.api.schedule import Cron, TimeZone
from safety_operator.api.through_rails import COMPARE_RULES, EvalTarget
from safety_records.result import MAX_METRIC
from safety_records.sampling import RequestLimit, Sampling
from safety_records.schema import NAMED_LIST, config, shaped


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


class SafetyEvalSpec(RequestLimit, RunSpec):
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
                "!has(self.contentSafety) || size(self.contentSafety) == 0 || !has(self.serving) || "
                "!has(self.serving.maxModelLen) || self.sampling.maxTokens < self.serving.maxModelLen"
            ),
            "a prompt and its answer share serving.maxModelLen: make it larger than sampling.maxTokens",
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
