"""Revisions of a GuardedDeployment: what was in service, since when and why, and the way back."""

from typing import Annotated, Literal

from pydantic import Field

from safety_operator.api.common import ApiModel
from safety_records.schema import config, shaped

MAX_REVISIONS = 10
Moment = Annotated[str, Field(max_length=32)]
ModelDigest = Annotated[
    str, shaped(r"^sha256:[0-9a-f]{64}$", "write sha256: and 64 hexadecimal digits", max_length=71)
]


Track = Literal["blue", "green"]

WEIGHTS_NEED_TRACKS = (
    "!has(self.weights) || size(self.weights) == 0 || has(self.strategy) && self.strategy == 'BlueGreen'",
    "weights belong to strategy BlueGreen: an update in place has no second version to lead requests to",
)
WEIGHTS_RISE = (
    (
        "!has(self.weights) || [1, 2, 3, 4, 5, 6, 7, 8, 9].all(at, at >= size(self.weights) || "
        "self.weights[at - 1] < self.weights[at])"
    ),
    "each of weights is larger than the one before: a proven version gets more and more of the requests",
)
ROLLOUT_RULES = (
    (
        (
            "!has(self.model.endpoint) || !has(self.rollout) || !has(self.rollout.strategy) || "
            "self.rollout.strategy == 'Rolling'"
        ),
        "rollout.strategy BlueGreen is for models that the operator serves: leave it out",
    ),
    (
        (
            "!has(self.rollout) || !has(self.rollout.weights) || size(self.rollout.weights) == 0 || "
            "has(self.expose) && has(self.expose.httpRoute) && !has(self.expose.tls)"
        ),
        (
            "rollout.weights are weights of an HTTPRoute that asks by HTTP: set expose.httpRoute without "
            "expose.tls, or leave them out"
        ),
    ),
)
"""Of the whole spec."""


class RolloutSpec(ApiModel):
    """Which revision is served, and how another one takes its place."""

    model_config = config(WEIGHTS_NEED_TRACKS, WEIGHTS_RISE)

    model_digest: ModelDigest | None = Field(
        default=None,
        description="Model of an earlier revision in status.revisions that was proven: it is served in place "
        "of spec.model until this field is removed. kubectl safety rollout undo sets it.",
    )
    strategy: Literal["Rolling", "BlueGreen"] = Field(
        default="Rolling",
        description="Rolling: pods are replaced in place, and take requests before a proof of the new "
        "version. BlueGreen: a new version comes up next to the one that serves, is proven, and then takes "
        "all requests, at once or by weights; meanwhile both need their GPUs, memory and quota.",
    )
    weights: Annotated[list[Annotated[int, Field(ge=1, le=99)]], Field(max_length=10)] = Field(
        default=[],
        description="Strategy BlueGreen with expose.httpRoute: percentages of the HTTPRoute's requests that "
        "a proven version gets, step by step, before it gets all. Requests to the Service inside the cluster "
        "change over at the end.",
    )
    step_seconds: Annotated[int, Field(ge=10, le=86400)] = Field(
        default=60,
        description="Length of a step of weights; the next needs a good proof from after its end.",
    )
    progress_deadline_seconds: Annotated[int, Field(ge=60, le=604800)] = Field(
        default=3600,
        description="Strategy BlueGreen: seconds that a new version may take until all its pods are ready, "
        "whatever they wait for, then as many until its proof is good, and after each step of weights. Later "
        "it has failed: its pods are removed, and the version before serves on.",
    )


class TrackVersion(ApiModel):
    """A version on one of the two tracks."""

    track: Track = Field(description="Which set of servers it is.")
    model_digest: Annotated[str, Field(max_length=71)] = Field(default="", description="Digest of the model.")
    config_hash: Annotated[str, Field(max_length=64)] = Field(
        default="", description="Hash of the guardrails configuration."
    )
    version: Annotated[str, Field(max_length=64)] = Field(
        default="", description="Hash of all pod templates of it."
    )


class CandidateStatus(TrackVersion):
    """A version that comes up next to the one that serves."""

    since: Moment = Field(default="", description="When it began to come up.")
    ready_at: Moment = Field(default="", description="When all its pods were ready for the first time.")
    opened_at: Moment = Field(
        default="", description="When its guardrails were opened to others than its proof."
    )
    step: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Step of spec.rollout.weights, from 1; 0 before the first."
    )
    weight: Annotated[int, Field(ge=0, le=100)] = Field(
        default=0, description="Percentage of the HTTPRoute's requests that it gets."
    )
    step_started_at: Moment = Field(default="", description="When the step began.")


class FailedVersion(TrackVersion):
    """A version that did not keep, or not get, the requests. It is tried again when somebody asks for it."""

    at: Moment = Field(default="", description="When it failed.")
    generation: Annotated[int, Field(ge=0)] = Field(default=0, description="metadata.generation then.")
    retry: Annotated[str, Field(max_length=64)] = Field(
        default="", description="The annotation modelsafety.dev/retry-rollout then."
    )
    message: Annotated[str, Field(max_length=1024)] = Field(
        default="", description="What its proof saw, or what it waited for."
    )


class RolloutStatus(ApiModel):
    """Strategy BlueGreen: which track has the requests, and what comes next."""

    live: TrackVersion = Field(description="What the endpoint's Service leads to.")
    switched_at: Moment = Field(default="", description="When it got there.")
    previous: TrackVersion | None = Field(
        default=None,
        description="The version before, whose pods are kept until a proof of the new one at the endpoint.",
    )
    candidate: CandidateStatus | None = Field(
        default=None, description="The version that is to take the requests."
    )
    failed: FailedVersion | None = Field(default=None, description="The last that did not.")


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
