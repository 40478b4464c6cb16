"""The model of a GuardedDeployment: one that the operator serves, or a server that already runs."""

from typing import Annotated

from pydantic import Field

from safety_operator.api.common import (
    NO_COMPLETIONS_IN_URL,
    NO_USER_IN_URL,
    TEMPLATE_OF_SOURCE,
    ConfigMapKeyRef,
    EvaluatedModel,
    ModelEndpoint,
)
from safety_records.schema import config, shaped


class GuardedModelEndpoint(ModelEndpoint):
    """An OpenAI-compatible server that already runs, which rails are put before."""

    model_config = config(
        NO_COMPLETIONS_IN_URL,
        (
            "!has(self.caConfigMapKeyRef) || self.url.startsWith('https://')",
            "caConfigMapKeyRef belongs to an https:// url: correct the url, or remove it",
        ),
        NO_USER_IN_URL,
    )
    ca_config_map_key_ref: ConfigMapKeyRef | None = Field(
        default=None,
        description="Certificates (PEM) of authorities that this server's certificate may come from, besides "
        "those that the guardrails image trusts. They count for no other server.",
    )
    digest: (
        Annotated[
            str,
            shaped(
                r"^sha256:[0-9a-f]{64}$", "give a digest as sha256: and 64 hexadecimal digits", max_length=71
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="Digest of the model behind the endpoint, where you vouch for it: an evaluation of that "
        "digest then opens the gate. Where absent, only an evaluation of the same url and model does.",
    )


class GuardedModel(EvaluatedModel):
    """The model to serve: exactly one of source, finetuneRef and endpoint."""

    model_config = config(
        (
            "[has(self.source), has(self.finetuneRef), has(self.endpoint)].filter(x, x).size() == 1",
            "name exactly one of source, finetuneRef and endpoint",
        ),
        TEMPLATE_OF_SOURCE,
    )
    endpoint: GuardedModelEndpoint | None = Field(
        default=None,
        description="A server that already runs, such as a NIM or one in another cluster: the operator puts "
        "the guarded endpoint before it and serves no model. What a gate and BypassClosed can know about "
        "it is less, and they say so.",
    )


NOT_SERVED = (
    *("nim", "image", "device", "maxModelLen", "reasoningParser", "toolCallParser", "resources"),
    *("startupSeconds", "startCache", "autoscaling", "updateStrategy"),
)
"""Fields of serving that are about a model server."""
ENDPOINT_RULES = (
    (
        (
            "!has(self.model.endpoint) || !has(self.serving) || "
            f"{' && '.join(f'!has(self.serving.{name})' for name in NOT_SERVED)} && "
            "(!has(self.serving.args) || size(self.serving.args) == 0) && "
            "(!has(self.serving.replicas) || self.serving.replicas == 1)"
        ),
        "with model.endpoint no model is served here: of serving keep servedName alone",
    ),
    (
        (
            "!has(self.model.endpoint) || !has(self.model.endpoint.caConfigMapKeyRef) || "
            "!has(self.guardrails.selfCheck) || has(self.guardrails.selfCheck.endpoint) || "
            "has(self.guardrails.selfCheck.model)"
        ),
        (
            "selfCheck asks the model through a library that does not know model.endpoint.caConfigMapKeyRef: "
            "name another judge in selfCheck.endpoint or selfCheck.model"
        ),
    ),
    (
        "!has(self.model.endpoint) || !has(self.gate.requireMeasured) || !self.gate.requireMeasured",
        (
            "the operator sees no files of a model.endpoint, so its digest can only be vouched for: remove "
            "gate.requireMeasured, or serve the model by source or finetuneRef"
        ),
    ),
    (
        "!has(self.model.endpoint) || !has(self.gate.requireSignature) || has(self.model.endpoint.digest)",
        "a signed report is about a digest: set model.endpoint.digest, or remove gate.requireSignature",
    ),
    (
        "!has(self.model.endpoint) || !has(self.gate.onRegression) || self.gate.onRegression != 'rollBack'",
        "there is no earlier model of a model.endpoint to go back to: use onRegression keep or scaleDown",
    ),
    (
        "!has(self.model.endpoint) || !has(self.rollout) || !has(self.rollout.modelDigest)",
        "rollout.modelDigest goes back to a model that was served here, not to a model.endpoint: remove one",
    ),
)
"""CEL rules of a GuardedDeployment: what a server of others excludes."""
