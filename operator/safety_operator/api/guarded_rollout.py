"""Revisions of a GuardedDeployment: what was in service, since when and why, and the way back."""

from typing import Annotated

from pydantic import Field

from safety_operator.api.common import ApiModel
from safety_records.schema import shaped

MAX_REVISIONS = 10
Moment = Annotated[str, Field(max_length=32)]
ModelDigest = Annotated[
    str, shaped(r"^sha256:[0-9a-f]{64}$", "write sha256: and 64 hexadecimal digits", max_length=71)
]


class RolloutSpec(ApiModel):
    """Which revision is served."""

    model_digest: ModelDigest | None = Field(
        default=None,
        description="Model of an earlier revision in status.revisions that was proven: it is served in place "
        "of spec.model until this field is removed. kubectl safety rollout undo sets it.",
    )


class Revision(ApiModel):
    """A model behind a configuration of the guardrails that was, or is, in service."""

    number: Annotated[int, Field(ge=1)] = Field(description="Counted from 1.")
    model_digest: Annotated[str, Field(max_length=71)] = Field(description="Digest of the model.")
    model_uri: Annotated[str, Field(max_length=2048)] = Field(
        default="", description="pvc://claim/path of the model's files."
    )
    config_hash: Annotated[str, Field(max_length=64)] = Field(
        description="Hash of the guardrails configuration."
    )
    opens_reasoning: bool = Field(
        default=False, description="Whether the model's answers begin within reasoning."
    )
    served_at: Moment = Field(description="Since when it was in service, RFC 3339.")
    proven_at: Moment = Field(
        default="", description="When a proof of it was good for the first time; empty: none was."
    )
    evaluated_at: Moment = Field(
        default="", description="When the oldest evaluation that opened its gate had finished."
    )
    gate: Annotated[str, Field(max_length=512)] = Field(
        default="", description="What GatePassed said when it came into service."
    )
    why: Annotated[str, Field(max_length=128)] = Field(default="", description="Why it came into service.")
