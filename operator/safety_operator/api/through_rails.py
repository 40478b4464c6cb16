"""A SafetyEval's target, which may be a GuardedDeployment through its rails, and what those add and cost."""

from pydantic import Field

from safety_operator.api.common import TEMPLATE_OF_SOURCE, EvaluatedModel, NamedRef, SecretKeyRef
from safety_records.schema import config


class EvalTarget(EvaluatedModel):
    """What to evaluate: exactly one of source, finetuneRef, endpoint and guardedDeploymentRef."""

    model_config = config(
        (
            (
                "[has(self.source), has(self.finetuneRef), has(self.endpoint), "
                "has(self.guardedDeploymentRef)].filter(x, x).size() == 1"
            ),
            "name exactly one of source, finetuneRef, endpoint and guardedDeploymentRef",
        ),
        TEMPLATE_OF_SOURCE,
        (
            "!has(self.apiKeySecretRef) || has(self.guardedDeploymentRef)",
            "apiKeySecretRef belongs to guardedDeploymentRef; an endpoint has its own",
        ),
    )
    guarded_deployment_ref: NamedRef | None = Field(
        default=None,
        description="A GuardedDeployment of this namespace, asked through its rails once it is Ready. How it "
        "is served it says itself: of spec.serving only placement counts. A gate wants an evaluation of the "
        "model, not this one.",
    )
    api_key_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="With guardedDeploymentRef: one of its callers' API keys (spec.access.keys there).",
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
