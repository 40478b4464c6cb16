"""SafetyFinetune: train it, survive interruptions, hand over a model."""

from typing import Annotated, Any

from pydantic import Field

from safety_operator.api.common import (
    ApiModel,
    DataUri,
    NamedRef,
    OwnedModel,
    Resources,
    gpu_rules,
)
from safety_operator.api.conditions import ArtifactStatus, CommonStatus
from safety_operator.api.pods import FinetunePods
from safety_operator.api.run import RunSpec
from safety_records.result import Training
from safety_records.schema import config
from safety_records.training import Device, Precision, TrainingBackend, TrainMethod, TrainSchedule

Count = Annotated[int, Field(ge=1, le=100000000)]


class TrainingData(ApiModel):
    """Training data: exactly one of blendRef and uri."""

    model_config = config(
        ("has(self.blendRef) != has(self.uri)", "name exactly one of blendRef and uri"),
        (
            "!has(self.uri) || self.uri.matches('^(configmap|pvc|file)://')",
            "training reads configmap://, pvc:// and file:// only: make a SafetyBlend of other data",
        ),
    )
    blend_ref: NamedRef | None = Field(
        default=None, description="The product of a SafetyBlend of this namespace."
    )
    uri: DataUri | None = Field(
        default=None,
        description="A file, or a folder of files, with a column messages: lists of role (system, user, "
        "assistant) and content, the assistant's last. Read in place: configmap://, pvc:// or file://; "
        "other data go through a SafetyBlend.",
    )


class Batch(ApiModel):
    """Rows at a time."""

    global_: Annotated[int, Field(ge=1, le=65536)] = Field(
        default=16, alias="global", description="Rows of an optimizer step, over all processes."
    )
    micro: Annotated[int, Field(ge=1, le=65536)] = Field(
        default=1, description="Rows of a forward pass of one process."
    )
    max_sequence_length: Annotated[int, Field(ge=16, le=4194304)] = Field(
        default=8192, description="Longest row in tokens; longer ones are cut."
    )


class Compute(ApiModel):
    """Where it runs."""

    model_config = config(
        *gpu_rules(
            "(has(self.gpusPerNode) ? self.gpusPerNode : 1)",
            "gpusPerNode",
            unless="(has(self.device) && self.device == 'cpu')",
        ),
        (
            "!has(self.gpusPerNode) || self.gpusPerNode == 1 || has(self.device) && self.device == 'cpu'",
            "a training pod uses one GPU: leave gpusPerNode out, and set nodes to the number of GPUs",
        ),
    )

    device: Device | None = Field(default=None, description="The chart's default where absent.")
    nodes: Annotated[int, Field(ge=1, le=1024)] = Field(default=1, description="Pods of the Indexed Job.")
    gpus_per_node: Annotated[int, Field(ge=0, le=16)] = Field(
        default=1, description="GPUs of a pod: 1, for more GPUs set nodes; ignored on cpu."
    )
    resources: Resources | None = Field(
        default=None,
        description="Resources of a training pod, name by name over the role's and the defaults. GPUs follow "
        "gpusPerNode.",
    )


class Checkpoint(ApiModel):
    """What an interruption may cost."""

    every_steps: Count = Field(
        default=20, description="Steps between checkpoints: at most so many are lost in an interruption."
    )
    keep: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3, description="Newest checkpoints that are kept on the claim; older ones are deleted."
    )


class Validation(ApiModel):
    """Loss on the validation rows."""

    every_steps: Count = Field(
        default=20, description="Steps between measurements of the loss on the validation rows."
    )


class SafetyFinetuneSpec(RunSpec):
    """Model, data and settings of supervised fine-tuning."""

    model_config = config(
        (
            "self.batch.global % (self.batch.micro * self.compute.nodes) == 0",
            (
                "each process takes the same number of rows: make batch.global a multiple of batch.micro "
                "times compute.nodes"
            ),
        )
    )

    pod: FinetunePods = Field(
        default=FinetunePods(), description="Options of all pods of this resource, over the chart's pods."
    )
    model: OwnedModel = Field(
        description="The model to train: a source, or the product of another SafetyFinetune."
    )
    data: TrainingData = Field(description="Training rows: those of a SafetyBlend, or files of your own.")
    backend: TrainingBackend = Field(default="trl", description="Training library; trl is the only one.")
    method: TrainMethod = Field(
        default=TrainMethod(), description="Whether all weights are trained, or low-rank adapters."
    )
    schedule: TrainSchedule = Field(default=TrainSchedule(), description="How long and how fast.")
    batch: Batch = Field(
        default=Batch(), description="Rows of a step and of a forward pass, and the longest row."
    )
    precision: Precision = Field(
        default="bf16", description="Data type of the computation; the weights that are trained stay in fp32."
    )
    seed: Annotated[int, Field(ge=0, le=2147483647)] = Field(default=42, description="Seed.")
    compute: Compute = Field(default=Compute(), description="Device, pods and resources of the training.")
    checkpoint: Checkpoint = Field(default=Checkpoint(), description="What an interruption may cost.")
    validation: Validation = Field(default=Validation(), description="Loss on the validation rows.")
    overrides: Annotated[
        dict[str, Any], Field(max_length=64, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
    ] = Field(default={}, description="Raw arguments of trl.SFTConfig, merged last, recorded.")


class SafetyFinetuneStatus(Training, CommonStatus):
    """Where training is, and what came out."""

    restarts: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Pods that failed and were replaced; absent: none."
    )
    base_digest: Annotated[str, Field(max_length=71)] = Field(
        default="", description="Digest of the model that training started from."
    )
    data_digest: Annotated[str, Field(max_length=71)] = Field(
        default="", description="Digest of the training data."
    )
    output: ArtifactStatus | None = Field(
        default=None, description="Where the trained model is, and its digest."
    )
