"""Conditions, their types and reasons, and what the statuses of the kinds share."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from safety_operator.api.common import ApiModel, Passthrough
from safety_records.result import StageResult, Truth


class ConditionType(StrEnum):
    """Types of conditions."""

    READY = "Ready"
    """True: what the kind promises exists for this generation; Unknown while working; False: wrong."""
    RECONCILING = "Reconciling"
    """True while work goes on."""
    STALLED = "Stalled"
    """True: nothing will happen until a person acts."""
    SUCCEEDED = "Succeeded"
    """Batch kinds: True when all stages finished, False when one failed for good."""
    SAFETY_PASSED = "SafetyPassed"
    """SafetyEval: True: every threshold is met; False: one is not; Unknown: there is no verdict."""
    UP_TO_DATE = "UpToDate"
    """SafetyEval with a schedule: True: the results are of the newest run that was due; Unknown while a new
    one goes on; False: it failed, and the results are of the run before."""
    GATE_PASSED = "GatePassed"
    """GuardedDeployment: the evaluations that the gate names passed for this very digest."""
    MODEL_READY = "ModelReady"
    """GuardedDeployment: the model server is up, with the model that the spec asks for."""
    GUARDRAILS_READY = "GuardrailsReady"
    """GuardedDeployment: the guardrails are up, in the configuration that the spec asks for."""
    AVAILABLE = "Available"
    """GuardedDeployment: the endpoint answers, with this version or with the one before it."""
    BYPASS_CLOSED = "BypassClosed"
    """GuardedDeployment: the model server refused the bypass probe."""
    RAILS_PROVEN = "RailsProven"
    """GuardedDeployment: the canary prompts were blocked and answered as they should be."""
    EXPOSED = "Exposed"
    """GuardedDeployment that is to be reached from outside of the cluster: what leads to it is there."""
    AUTOSCALED = "Autoscaled"
    """GuardedDeployment whose pods follow the load: what changes their number is there and works."""
    PROMOTED = "Promoted"
    """GuardedDeployment with rollout.strategy BlueGreen: the version of the spec has all requests; Unknown
    while it comes up next to the one before; False: it failed, and the one before serves."""


class Reason(StrEnum):
    """Reasons that the operator itself gives. A worker's failure has its own."""

    PENDING = "Pending"
    """Not looked at yet."""
    RUNNING = "Running"
    """A stage runs."""
    WAITING_FOR_REFERENCE = "WaitingForReference"
    """Something that the spec names does not exist yet or is not ready."""
    REFERENCE_CYCLE = "ReferenceCycle"
    """Resources wait for each other, or one for itself."""
    QUEUED = "Queued"
    """A queue, such as Kueue's, has not let the Job start yet."""
    SUSPENDED = "Suspended"
    """spec.suspend is true."""
    COMPLETED = "Completed"
    """All stages finished."""
    INVALID_SPEC = "InvalidSpec"
    """The spec contradicts itself in a way that the schema cannot see."""
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a reason, no secret
    """A Secret or its key does not exist."""
    SECRET_WITHHELD = "SecretWithheld"  # noqa: S105 - a reason, no secret
    """A Secret that resources may not use: a token or key of others, or one without the label that the chart
    asks for."""
    CONFIG_MAP_MISSING = "ConfigMapMissing"
    """A ConfigMap or its key does not exist."""
    EMPTY_ANCHORS = "EmptyAnchors"
    """A set of examples that screening compares rows with is empty."""
    CLAIM_MISSING = "ClaimMissing"
    """The PersistentVolumeClaim for artifacts does not exist."""
    NOT_ENOUGH_MEMORY = "NotEnoughMemory"
    """A training cannot fit into the memory of its GPUs."""
    NOT_ENOUGH_DISK = "NotEnoughDisk"
    """Checkpoints and the trained model cannot fit onto the claim for artifacts."""
    OUT_OF_MEMORY = "OutOfMemory"
    """A pod was killed for its memory, and would be again."""
    STAGE_FAILED = "StageFailed"
    """A worker failed without a reason of its own."""
    CHILD_REFUSED = "ChildRefused"
    """The API server refused an object that the resource needs; its answer is in the message."""
    KUBERAY_MISSING = "KubeRayMissing"
    """launcher: kuberay, and the cluster has no RayJobs that the operator may see."""
    OBJECT_IN_THE_WAY = "ObjectInTheWay"
    """An object that is not this resource's has the name of one that it needs."""
    POD_CANNOT_START = "PodCannotStart"
    """A pod waits for an image, a Secret, a volume or a place on a node."""
    NO_CUDA_DEVICE = "NoCudaDevice"
    """A container that was to have a GPU finds no driver or no GPU."""
    CUDA_DRIVER_TOO_OLD = "CudaDriverTooOld"
    """The node's driver is older than the CUDA of the container's image."""
    MODEL_CHANGED = "ModelChanged"
    """Files of a model that stays where it came from are not those that were given its digest."""
    IMAGE_WITHOUT_CUDA = "ImageWithoutCuda"
    """A GPU was asked for, and the image runs on CPUs only."""
    THRESHOLDS_MET = "ThresholdsMet"
    """Every threshold is met."""
    THRESHOLD_NOT_MET = "ThresholdNotMet"
    """A threshold is not met."""
    SCORE_MISSING = "ScoreMissing"
    """A threshold rests on a number that is missing."""
    NO_THRESHOLDS = "NoThresholds"
    """The spec sets no thresholds, so there is no verdict."""
    GATE_NOT_PASSED = "GateNotPassed"
    """An evaluation that the gate names failed or is for another model."""
    GATE_WAIVED = "GateWaived"
    """The spec says gate: none."""
    NOT_READY = "NotReady"
    """Pods are not ready yet."""
    PROOF_FAILED = "ProofFailed"
    """The proof saw something that must not be."""
    PROOF_OVERDUE = "ProofOverdue"
    """No proof has finished for three times the pause between proofs."""
    ENDPOINT_NOT_OWNED = "EndpointNotOwned"
    """The proof found no way round the rails, and the model server is not the operator's: others may."""
    PROVEN = "Proven"
    """The proof saw what it should."""
    SERVING = "Serving"
    """The guarded endpoint answers."""
    EXPOSED = "Exposed"
    """What leads to the endpoint from outside is there, and callers need keys."""
    NO_CALLER_KEYS = "NoCallerKeys"
    """The endpoint is reached from outside, and whoever reaches it may ask."""
    API_MISSING = "ApiMissing"
    """The cluster lacks a kind that the spec asks for, such as Gateway API's HTTPRoute."""
    ROUTE_REFUSED = "RouteRefused"
    """A Gateway does not take the HTTPRoute."""
    ROUTE_NOT_TAKEN = "RouteNotTaken"
    """No controller has said for each Gateway that it takes the HTTPRoute."""
    SCALING = "Scaling"
    """The number of pods follows the load."""
    NOT_SCALING = "NotScaling"
    """An autoscaler is there and cannot do its work."""
    PROMOTED = "Promoted"
    """The version of the spec has all requests."""
    ROLLING_OUT = "RollingOut"
    """A version comes up next to the one that serves, is proven, or gets a share of the requests."""
    ROLLOUT_FAILED = "RolloutFailed"
    """The proof of a version failed, so that the one before serves on, or again."""


class Condition(ApiModel):
    """A condition, as Kubernetes defines it."""

    type: Annotated[str, Field(max_length=316)] = Field(description="What the condition is about.")
    status: Truth = Field(description="True, False, or Unknown while it cannot be told.")
    observed_generation: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Generation of the spec that the condition speaks of."
    )
    last_transition_time: Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})] = (
        Field(description="When the status last changed.")
    )
    reason: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="One word in CamelCase for programs."
    )
    message: Annotated[str, Field(max_length=32768)] = Field(
        description="A sentence for people: what is the case and, where something is wrong, what to do.",
    )


Hash = Annotated[str, Field(max_length=64)]


class StageStatus(ApiModel):
    """One stage of the run."""

    name: Annotated[str, Field(max_length=40)] = Field(
        description="Name of the stage, such as generate or train."
    )
    state: Literal["Pending", "Running", "Succeeded", "Failed", "Skipped"] = Field(
        description="How far the stage is."
    )
    hash: Hash = Field(default="", description="Hash of everything that influences the stage's output.")
    job: Annotated[str, Field(max_length=63)] = Field(
        default="", description="Name of the stage's Job, for kubectl logs."
    )
    result: Passthrough = Field(
        default={},
        description="The record that the stage left, its proof of completion: output, scores and counts, or "
        "why it failed. Its numbers are as exact as the worker wrote them.",
    )
    started_at: Annotated[str, Field(max_length=32)] = Field(
        default="", description="When its Job was created."
    )
    finished_at: Annotated[str, Field(max_length=32)] = Field(
        default="", description="When its result was recorded."
    )

    @property
    def record(self) -> StageResult | None:
        """The result as a record; None where there is none. Fields of a newer version are passed over."""
        try:
            return StageResult.model_validate(self.result, extra="ignore") if self.result else None
        except ValidationError:
            return None


class ProgressStatus(ApiModel):
    """How far the run is."""

    stage: Annotated[str, Field(max_length=40)] = Field(default="", description="Name of the running stage.")
    done: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="Units of the running stage that are finished; absent while it has not reported any.",
    )
    total: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Units in all; absent while unknown."
    )
    unit: Annotated[str, Field(max_length=20)] = Field(
        default="", description="What is counted, such as rows or steps."
    )
    percent: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None, description="Done of total, rounded down; absent while total is."
    )
    text: Annotated[str, Field(max_length=256)] = Field(
        default="", description="For people: what runs, how far it is, what is being waited for."
    )


Stages = Annotated[
    list[StageStatus],
    Field(
        max_length=48,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    ),
]
"""All stages of a run: of a SafetyEval eight judges' models, 32 shards of a scan and eight others."""


class CommonStatus(ApiModel):
    """Status of every kind."""

    observed_generation: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Latest generation of the spec that the operator has seen."
    )
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = Field(default=[], description="What is the case, by type; programs read these and nothing else.")
    state: Annotated[str, Field(max_length=40)] = Field(
        default="", description="One word for people, derived from the conditions."
    )
    progress: ProgressStatus | None = Field(default=None, description="How far the run is.")
    stages: Stages = Field(
        default=[], description="Stages of the run and their results; a finished one is never run again."
    )
    warnings: Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=16)] = Field(
        default=[],
        description="What came out, but otherwise than one might think: a source that has changed since it "
        "was published, an uneven sample, a library's warning about what a training or a benchmark is worth.",
    )

    def condition(self, type_: str) -> Condition | None:
        """A condition of whatever generation; None where there is none."""
        return next((item for item in self.conditions if item.type == type_), None)

    def is_true(self, type_: ConditionType, generation: int) -> bool:
        """Whether a condition is True for a generation of the spec."""
        found = self.condition(type_)
        return found is not None and found.status == "True" and found.observed_generation == generation

    def stage(self, name: str) -> StageStatus:
        """The entry of a stage; a pending one without hash and result where there is none."""
        found = (stage for stage in self.stages if stage.name == name)
        return next(found, StageStatus(name=name, state="Pending"))


class ArtifactStatus(ApiModel):
    """A result in the artifact store."""

    uri: Annotated[str, Field(max_length=2048)] = Field(
        default="", description="Folder on the claim, as pvc://claim/path."
    )
    digest: Annotated[str, Field(max_length=71)] = Field(
        default="", description="sha256: and 64 hexadecimal digits over the names and contents of its files."
    )
