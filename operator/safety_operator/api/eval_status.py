"""What the status of a SafetyEval says beyond that of every kind."""

from typing import Annotated, Literal

from pydantic import Field

from safety_operator.api.common import ApiModel
from safety_operator.api.conditions import ArtifactStatus, CommonStatus
from safety_operator.api.eval_measures import MAX_METRIC
from safety_operator.api.schedule import RerunStatus, RunIdentity, RunStatus, ScheduleStatus
from safety_records.result import RailsEffect, Score
from safety_records.stages import GuardedTarget


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
