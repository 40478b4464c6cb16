"""What the status of a SafetyEval says beyond that of every kind."""

from typing import Annotated

from pydantic import Field

from safety_operator.api.common import ApiModel
from safety_operator.api.conditions import ArtifactStatus, CommonStatus
from safety_operator.api.schedule import RerunStatus, RunIdentity, RunStatus, ScheduleStatus
from safety_records.eval_stages import EvaluatedTarget, ThresholdOutcome
from safety_records.result import JudgeAgreement, RailsEffect, Score, Truth


class JudgeStatus(JudgeAgreement, ApiModel):
    """How far a calibrated judge agrees with people. A share that no row counts for is absent."""

    trusted: bool = Field(description="Whether minAgreement is met, or there is none.")


class ThresholdStatus(ThresholdOutcome, ApiModel):
    """A threshold and what it met."""

    passed: Truth = Field(
        description="Whether the bound is met. Unknown: the number is missing. A bound on probes without a "
        "number is not met; SafetyPassed is then Unknown all the same."
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

    target: EvaluatedTarget | None = Field(
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
