"""GuardedDeployment: a model is served only if it passed, and only behind guardrails."""

from typing import Annotated, Literal

from pydantic import Field

from safety_operator.api.common import (
    SERVING_RULES,
    ApiModel,
    Resources,
    SecretKeyRef,
    Serving,
)
from safety_operator.api.conditions import CommonStatus
from safety_operator.api.guarded_endpoints import GuardedEndpoints
from safety_operator.api.guarded_exposure import Expose
from safety_operator.api.guarded_gate import Gate, ProofSpec, ProofStatus
from safety_operator.api.guarded_guards import GuardStatus
from safety_operator.api.guarded_model import ENDPOINT_RULES, GuardedModel
from safety_operator.api.guarded_rails import (
    ContentSafetyRail,
    Jailbreak,
    OwnConfig,
    RailRefusal,
    RefusalText,
    SelfCheck,
    SensitiveData,
    TopicControl,
)
from safety_operator.api.guarded_rollout import (
    MAX_REVISIONS,
    ROLLOUT_RULES,
    Revision,
    RolloutSpec,
    RolloutStatus,
)
from safety_operator.api.guarded_scaling import Autoscaling
from safety_operator.api.guarded_telemetry import GuardedTelemetry
from safety_operator.api.guarded_tools import ToolCalls
from safety_operator.api.pods import GuardedPods
from safety_operator.api.run import RunSpec
from safety_records.schema import NAMED_LIST, Name, config, shaped

OWN_CALLER = "operator"
"""Name of the caller that the proofs are, where the endpoint wants keys."""


REPLICAS_OR_AUTOSCALING = (
    "!has(self.autoscaling) || !has(self.replicas) || self.replicas == 1",
    "with autoscaling the load decides on the number of pods: leave replicas out",
)
ServedName = Annotated[
    str,
    shaped(
        r"^[A-Za-z0-9]([A-Za-z0-9._:/-]*[A-Za-z0-9])?$",
        "write letters, digits, '.', '_', ':', '/' and '-', with a letter or digit at both ends",
        max_length=128,
    ),
]


class GuardedStreaming(ApiModel):
    """How streamed answers are checked: in windows, each shown once the guardrails have passed it."""

    chunk_tokens: Annotated[int, Field(ge=1, le=8192)] = Field(
        default=128,
        description="Tokens of a window: fewer show text sooner, more let the guard see more at a time.",
    )
    context_tokens: Annotated[int, Field(ge=0, le=8192)] = Field(
        default=64,
        description="Tokens before a window that the guard reads again with it, for what is spread over two.",
    )
    release_before_check: bool = Field(
        default=False,
        description="True: users see text as it comes, before it is checked; a block then ends the stream.",
    )


class Guardrails(ApiModel):
    """Guardrails in front of the model."""

    model_config = config(REPLICAS_OR_AUTOSCALING)
    replicas: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Pods of the guarded endpoint."
    )
    autoscaling: Autoscaling | None = Field(
        default=None,
        description="How many pods there are by load; replicas of them where absent. Each pod then has its "
        "share of the callers' limits as if there were maxReplicas.",
    )
    image: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="Container image of the guarded endpoint; the chart's where absent."
    )
    content_safety: ContentSafetyRail = Field(
        description="Which model checks requests and answers for unsafe content."
    )
    topic_control: TopicControl | None = Field(
        default=None, description="Which subjects users may ask about; any where absent."
    )
    self_check: SelfCheck | None = Field(
        default=None, description="The model, or another chat model, judges by a policy in words."
    )
    jailbreak: Jailbreak | None = Field(
        default=None, description="Recognizes attempts to talk the model out of its rules."
    )
    sensitive_data: SensitiveData | None = Field(
        default=None, description="Blocks texts with numbers and names that belong to somebody."
    )
    tool_calls: ToolCalls = Field(
        default=ToolCalls(), description="Which tools clients may offer, and what rails read of their calls."
    )
    refusal: RefusalText = Field(
        default="I'm sorry, I can't help with that.",
        description="What a user reads in place of a blocked answer; its finish_reason is content_filter.",
    )
    config: OwnConfig | None = Field(
        default=None, description="Rails of a NeMo Guardrails configuration of your own, besides the others."
    )
    refusals: Annotated[
        list[RailRefusal],
        Field(
            max_length=64,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["rail", "language"],
            },
        ),
    ] = Field(default=[], description="Other refusals for a rail, a language or both.")
    streaming: GuardedStreaming = Field(
        default=GuardedStreaming(), description="How streamed answers are checked and shown."
    )
    speculative: bool = Field(
        default=False,
        description="Whether the model begins to answer while the guard still reads the request. Nothing is "
        "shown before the verdict; what is blocked has cost the model some work.",
    )
    reasoning: Literal["hide", "show"] = Field(
        default="hide",
        description="Whether users get the model's reasoning, checked like its answers.",
    )
    resources: Resources | None = Field(
        default=None,
        description="Resources of a guardrails pod, name by name over the role's and the defaults.",
    )


class CallerKey(ApiModel):
    """Who may ask, by an API key of a Secret, and what it may take."""

    model_config = config(
        (f"self.name != '{OWN_CALLER}'", f"the name {OWN_CALLER} belongs to the proofs: choose another"),
    )
    name: Name = Field(description="Name of the caller in the audit trail.")
    secret_ref: SecretKeyRef = Field(
        description="Its API key of 16 characters or more; on two lines the old and the new one. A change is "
        "in force within two minutes, without a restart."
    )
    requests_per_minute: Annotated[int, Field(ge=1, le=1000000)] | None = Field(
        default=None, description="Requests that it may send in a minute, to all pods together."
    )
    tokens_per_minute: Annotated[int, Field(ge=1, le=1000000000)] | None = Field(
        default=None,
        description="Tokens, of prompts and answers, that it may take in a minute, from all pods together.",
    )
    max_request_bytes: Annotated[int, Field(ge=1024, le=1048576)] | None = Field(
        default=None, description="Largest request; 1048576 (1 MiB) where absent."
    )


class Access(ApiModel):
    """Who may ask the guarded endpoint."""

    model_config = config(
        (
            (
                "!has(self.keys) || "
                "self.keys.all(one, self.keys.exists_one(two, "
                "two.secretRef.name == one.secretRef.name && two.secretRef.key == one.secretRef.key))"
            ),
            "two callers with one key cannot be told apart: give each its own key of a Secret",
        )
    )
    keys: Annotated[list[CallerKey], Field(max_length=64, json_schema_extra=NAMED_LIST)] = Field(
        default=[], description="Callers with API keys; without any, whoever reaches the endpoint may ask."
    )


class Audit(ApiModel):
    """The audit trail of blocked requests and answers, in the log of the guardrails' pods."""

    model_config = config(
        (
            "!has(self.retentionDays) || has(self.claim) && self.claim",
            "retentionDays is about files on the claim: set claim: true, or remove it",
        )
    )
    claim: bool = Field(
        default=False,
        description="Whether the trail is also written to the claim of the artifacts, in files of the folder "
        "audit.trails/NAMESPACE/NAME. Several pods write there: on several nodes the claim has to be "
        "ReadWriteMany.",
    )
    retention_days: Annotated[int, Field(ge=1, le=36500)] | None = Field(
        default=None,
        description="Files of the claim whose last line is older are deleted, up to two days later; absent: "
        "they stay for ever.",
    )
    text: bool = Field(
        default=False, description="Whether the blocked text itself stands there, and not only its digest."
    )


class RollingUpdate(ApiModel):
    """How many pods an update may have too many or too few, as in a Deployment."""

    model_config = config(
        (
            "!has(self.maxSurge) || self.maxSurge > 0 || has(self.maxUnavailable) && self.maxUnavailable > 0",
            "with maxSurge 0 no pod could ever be replaced: set maxUnavailable to 1 or more",
        )
    )
    max_surge: Annotated[int, Field(ge=0, le=64)] = Field(
        default=1, description="Pods above replicas during an update; each needs room, such as a GPU."
    )
    max_unavailable: Annotated[int, Field(ge=0, le=64)] = Field(
        default=0, description="Pods below replicas during an update."
    )


class UpdateStrategy(ApiModel):
    """How new pods of the model take the place of old ones, as in a Deployment."""

    model_config = config(
        (
            "!has(self.type) || self.type == 'RollingUpdate' || !has(self.rollingUpdate)",
            "rollingUpdate belongs to type RollingUpdate: remove it",
        )
    )
    type: Literal["RollingUpdate", "Recreate"] = Field(
        default="RollingUpdate",
        description="RollingUpdate: pod by pod; Recreate: all old pods go first, so that the new ones find "
        "the GPUs free, and nothing answers until a new one is ready.",
    )
    rolling_update: RollingUpdate | None = Field(
        default=None, description="Type RollingUpdate: how many pods at a time."
    )


class GuardedServing(Serving):
    """How a guarded model is served."""

    model_config = config(*SERVING_RULES, REPLICAS_OR_AUTOSCALING)

    served_name: ServedName | None = Field(
        default=None,
        description="The model's name in requests and in the list of models; the name of this resource where "
        "absent.",
    )
    autoscaling: Autoscaling | None = Field(
        default=None, description="How many pods there are by load; replicas of them where absent."
    )
    update_strategy: UpdateStrategy | None = Field(
        default=None,
        description="How an update replaces pods. Where absent, several pods on GPUs are replaced one by "
        "one, the old pod first (maxSurge 0, maxUnavailable 1), which needs no further GPU; a single pod, "
        "and pods on CPU, go only when their successor is ready (maxSurge 1, maxUnavailable 0). Where the "
        "only GPU is in use, set type: Recreate.",
    )


class GuardedDeploymentSpec(RunSpec):
    """The model, its gate, guardrails and endpoint."""

    model_config = config(*ENDPOINT_RULES, *ROLLOUT_RULES)

    pod: GuardedPods = Field(
        default=GuardedPods(), description="Options of all pods of this resource, over the chart's pods."
    )
    model: GuardedModel = Field(
        description="The model to serve: a source, the product of a SafetyFinetune, or a server that runs."
    )
    gate: Gate = Field(
        description="Evaluations that this very model must have passed, by digest, before it is served."
    )
    serving: GuardedServing = Field(
        default=GuardedServing(), description="Engine, device, replicas and resources of the model server."
    )
    guardrails: Guardrails = Field(
        description="The guarded endpoint: who checks requests and answers, and what users read "
        "when they are blocked."
    )
    access: Access = Field(default=Access(), description="Who may ask the guarded endpoint.")
    audit: Audit = Field(
        default=Audit(), description="What the audit trail of blocked requests and answers holds."
    )
    endpoints: GuardedEndpoints = Field(
        default=GuardedEndpoints(), description="Endpoints besides chat; none where absent."
    )
    telemetry: GuardedTelemetry | None = Field(
        default=None, description="Where traces of requests are sent; none where absent."
    )
    expose: Expose = Field(default=Expose(), description="How the guarded endpoint is exposed.")
    proof: ProofSpec = Field(
        default=ProofSpec(),
        description="Canary prompts and bypass probes that repeat for as long as the model is served.",
    )
    rollout: RolloutSpec = Field(
        default=RolloutSpec(), description="Which revision is served, and how another one takes its place."
    )


class ServedStatus(ApiModel):
    """Digests in service and wanted."""

    model_digest: Annotated[str, Field(max_length=71)] = Field(
        default="",
        description="Digest of the model that answers now; of an endpoint without one, endpoint: and a hash "
        "of its URL and the model's name.",
    )
    model_uri: Annotated[str, Field(max_length=2048)] = Field(
        default="", description="pvc://claim/path of that model's files, or the endpoint's URL."
    )
    wanted_model_digest: Annotated[str, Field(max_length=71)] = Field(
        default="", description="Digest of the model that the spec asks for."
    )
    config_hash: Annotated[str, Field(max_length=64)] = Field(
        default="", description="Hash of the guardrails configuration that answers now."
    )
    wanted_config_hash: Annotated[str, Field(max_length=64)] = Field(
        default="", description="Hash of the guardrails configuration that the spec asks for."
    )


class GuardedDeploymentStatus(CommonStatus):
    """What is in service."""

    endpoint: Annotated[str, Field(max_length=512)] = Field(
        default="", description="URL of the guarded endpoint inside the cluster."
    )
    served: ServedStatus | None = Field(
        default=None,
        description="Digests of model and configuration in service, and those that the spec asks for.",
    )
    guards: Annotated[list[GuardStatus], Field(max_length=8)] = Field(
        default=[],
        description="Guard models that the operator serves for rails, here or elsewhere.",
    )
    proof: ProofStatus | None = Field(default=None, description="What the last proof saw.")
    revisions: Annotated[list[Revision], Field(max_length=MAX_REVISIONS)] = Field(
        default=[],
        description="What was in service, the newest first. The last proven one of another model is kept.",
    )
    rollout: RolloutStatus | None = Field(
        default=None, description="Strategy BlueGreen: which track has the requests, and what comes next."
    )
    replicas: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Pods of the model server, for the scale subresource."
    )
    selector: Annotated[str, Field(max_length=512)] = Field(
        default="", description="Label selector of those pods, for the scale subresource."
    )
