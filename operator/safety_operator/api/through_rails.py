"""A SafetyEval's target, which may be a GuardedDeployment through its rails, and what those add and cost."""

from typing import Annotated

from pydantic import Field

from safety_operator.api.common import ApiModel, EvaluatedModel, NamedRef
from safety_records.schema import config

DecimalText = Annotated[str, Field(max_length=24)]
"""A decimal number in a status; empty where there is none."""


class EvalTarget(EvaluatedModel):
    """What to evaluate: exactly one of source, finetuneRef, endpoint and guardedDeploymentRef."""

    model_config = config(
        (
            (
                "[has(self.source), has(self.finetuneRef), has(self.endpoint), "
                "has(self.guardedDeploymentRef)].filter(x, x).size() == 1"
            ),
            "name exactly one of source, finetuneRef, endpoint and guardedDeploymentRef",
        )
    )
    guarded_deployment_ref: NamedRef | None = Field(
        default=None,
        description="A GuardedDeployment of this namespace, asked through its rails once it is Ready. How it "
        "is served it says itself: of spec.serving only placement counts. A gate wants an evaluation of the "
        "model, not this one.",
    )


COMPARE_RULES = (
    (
        "!has(self.compare) || has(self.model.guardedDeploymentRef)",
        (
            "compare: unguarded is about rails: name a GuardedDeployment in model.guardedDeploymentRef, or "
            "remove it"
        ),
    ),
    (
        "!has(self.compare) || has(self.contentSafety) && size(self.contentSafety) > 0",
        "compare: unguarded compares suites of prompts: add contentSafety, or remove it",
    ),
    (
        (
            "!has(self.model.guardedDeploymentRef) || !has(self.accuracy) || "
            "!self.accuracy.exists(a, has(a.dataset) && "
            "(!has(a.answers) || a.answers != 'written'))"
        ),
        (
            "choices of a dataset are scored by log-likelihood, which no answer through rails gives: "
            "set answers: written, or evaluate the model itself in another SafetyEval"
        ),
    ),
)
"""Rules of a SafetyEval's spec about its target."""


class ShareStatus(ApiModel):
    """A share of answers with its interval."""

    count: Annotated[int, Field(ge=0)] = Field(description="Answers that it is about.")
    total: Annotated[int, Field(ge=0)] = Field(description="All answers.")
    value: DecimalText = Field(description="The share, from 0 to 1.")
    lower: DecimalText = Field(description="Lower end of its 95 % interval.")
    upper: DecimalText = Field(description="Upper end of it.")


class PairedStatus(ApiModel):
    """A score's difference to the baseline's on the same rows."""

    baseline: Annotated[str, Field(max_length=253)] = Field(description="Name of the baseline SafetyEval.")
    difference: Annotated[str, Field(max_length=24)] = Field(
        description="Value minus the baseline's, from -1 to 1."
    )
    lower: Annotated[str, Field(max_length=24)] = Field(
        description="Lower end of the 95 % interval of the difference."
    )
    upper: Annotated[str, Field(max_length=24)] = Field(description="Upper end of it.")
    p_value: Annotated[str, Field(max_length=24)] = Field(
        description="Probability of such a difference by chance, two-sided."
    )
    test: Annotated[str, Field(max_length=40)] = Field(description="Name of the test.")
    pairs: Annotated[int, Field(ge=0)] = Field(description="Rows that both evaluations have.")


class LatencyStatus(ApiModel):
    """Times of whole answers of the model, in milliseconds; blocked ones do not count."""

    samples: Annotated[int, Field(ge=0)] = Field(
        description="Prompts that were answered, both ways if compared."
    )
    p50: Annotated[int, Field(ge=0)] = Field(description="Median through the rails.")
    p95: Annotated[int, Field(ge=0)] = Field(description="95th percentile through the rails.")
    unguarded_p50: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Median without them."
    )
    unguarded_p95: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="95th percentile without them."
    )
    added_p50: int | None = Field(default=None, description="Difference of the medians.")
    added_p95: int | None = Field(default=None, description="Difference of the 95th percentiles.")


class RailsStatus(ApiModel):
    """What the rails did; with compare: unguarded, what they add and cost."""

    blocked_unsafe: ShareStatus | None = Field(
        default=None, description="Answers blocked in suites with expect: safe; absent: there are none."
    )
    blocked_benign: ShareStatus | None = Field(
        default=None, description="Answers blocked in suites with expect: answer."
    )
    unguarded: DecimalText = Field(default="", description="contentSafety of the same model without rails.")
    unguarded_interval: Annotated[str, Field(max_length=40)] = Field(
        default="", description="Its 95 % interval."
    )
    gained: PairedStatus | None = Field(
        default=None, description="contentSafety with rails minus without, on the same prompts."
    )
    gained_missing: Annotated[str, Field(max_length=200)] = Field(
        default="", description="Why there is no such difference."
    )
    answered: PairedStatus | None = Field(
        default=None,
        description="Mean of the suites with expect: answer, with rails minus without: below 0 is what the "
        "rails cost.",
    )
    answered_missing: Annotated[str, Field(max_length=200)] = Field(
        default="", description="Why there is no such difference."
    )
    latency_ms: LatencyStatus | None = Field(default=None, description="Times of answers.")
    latency_missing: Annotated[str, Field(max_length=200)] = Field(
        default="", description="Why there are none."
    )


class GuardedTargetStatus(ApiModel):
    """The GuardedDeployment that is evaluated through its rails."""

    name: Annotated[str, Field(max_length=253)] = Field(description="Its name.")
    model_digest: Annotated[str, Field(max_length=71)] = Field(
        description="Digest of the model behind its rails."
    )
    rails_digest: Annotated[str, Field(max_length=71)] = Field(
        description="Hash of the rails' configuration."
    )
