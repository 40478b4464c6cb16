"""spec.endpoints of a GuardedDeployment: which of OpenAI's endpoints it has besides chat."""

from pydantic import Field

from safety_operator.api.common import ApiModel


class GuardedEndpoints(ApiModel):
    """Endpoints besides /v1/chat/completions and /v1/models."""

    completions: bool = Field(
        default=False,
        description="Whether /v1/completions is served. A prompt passes the guardrails as what a user "
        "writes; the model reads it without its chat template, and reasoning in its text is shown.",
    )
    embeddings: bool = Field(
        default=False,
        description="Whether /v1/embeddings is served. Texts pass the guardrails for requests. The model "
        "server has to have embeddings (a pooling model, which has no chat, behind model.endpoint).",
    )
