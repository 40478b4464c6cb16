"""SafetyFinetune: train it, survive interruptions, hand over a model."""

from typing import Annotated, Any, Literal

from pydantic import Field

from safety_operator.api.common import (
    ApiModel,
    DataUri,
    NamedRef,
    OwnedModel,
    Quantity,
    Resources,
    gpu_rules,
)
from safety_operator.api.conditions import ArtifactStatus, CommonStatus
from safety_operator.api.finetune_output import FinetuneOutputStatus, Output
from safety_operator.api.finetune_profiles import Profile, profile_rules, rate_rule
from safety_operator.api.pods import FinetunePods
from safety_operator.api.run import RunSpec
from safety_operator.api.tracking import Tracking
from safety_records.numbers import NonNegative
from safety_records.result import Training
from safety_records.schema import UNSET, config
from safety_records.training import (
    BestCheckpoint,
    Device,
    Launcher,
    LongRows,
    NemoRlSettings,
    Precision,
    Strategy,
    TrainingBackend,
    TrainMethod,
    TrainSchedule,
)

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
        default=8192, description="Longest row in tokens."
    )
    long_rows: LongRows = Field(
        default="cut",
        description="Rows of more than maxSequenceLength: cut at the end, or refused, so that training does "
        "not start.",
    )
    packing: bool = Field(
        default=False,
        description="Whether short rows share a sequence, which wastes less of each forward pass.",
    )


def _on_cpu(compute: str) -> str:
    """CEL: whether a training is on CPU for sure; without a device the chart's default decides."""
    return f"(has({compute}.device) && {compute}.device == 'cpu')"


def _processes(compute: str) -> str:
    """CEL: processes of a pod. The default of ``compute`` is checked before its fields have theirs."""
    of_cpu = f"(has({compute}.processesPerNode) ? {compute}.processesPerNode : 1)"
    of_gpus = f"(has({compute}.gpusPerNode) ? {compute}.gpusPerNode : 1)"
    return f"({_on_cpu(compute)} ? {of_cpu} : {of_gpus})"


class Compute(ApiModel):
    """Where it runs."""

    model_config = config(
        *gpu_rules("(has(self.gpusPerNode) ? self.gpusPerNode : 1)", "gpusPerNode", unless=_on_cpu("self")),
        (
            (
                "!has(self.gpuMemory) || isQuantity(self.gpuMemory) && "
                "quantity(self.gpuMemory).compareTo(quantity('1Gi')) >= 0"
            ),
            "write gpuMemory as a quantity with its unit, such as 80Gi",
        ),
        (
            f"!has(self.processesPerNode) || {_on_cpu('self')}",
            "processesPerNode is for device cpu: on GPUs each of gpusPerNode has a process",
        ),
        (
            (
                "!has(self.strategy) || self.strategy != 'fsdp' || "
                f"(has(self.nodes) ? self.nodes : 1) * {_processes('self')} > 1"
            ),
            (
                "strategy fsdp shards a model over several processes: ask for more GPUs or nodes, or leave "
                "strategy out"
            ),
        ),
    )

    device: Device | None = Field(default=None, description="The chart's default where absent.")
    nodes: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=1, description="Pods that train together, each on a node with gpusPerNode free GPUs."
    )
    gpus_per_node: Annotated[int, Field(ge=1, le=16)] = Field(
        default=1, description="GPUs of a pod, with a process for each; ignored on cpu."
    )
    gpu_memory: Quantity | None = Field(
        default=None,
        description="Memory of a GPU, such as 80Gi: a training that cannot fit is refused before a pod "
        "starts. Where absent: what the trainer's nodeSelector says by nvidia.com/gpu.memory or "
        "nvidia.com/gpu.product.",
    )
    processes_per_node: Annotated[int, Field(ge=1, le=16)] | None = Field(
        default=None, description="Device cpu: processes of a pod; one where absent."
    )
    strategy: Literal["auto", "fsdp", "ddp"] = Field(
        default="auto",
        description="How processes share the model. fsdp: each keeps a part of weights, gradients and "
        "optimizer; ddp: each keeps all of it; auto: fsdp for method full on several GPUs, else ddp.",
    )
    gradient_checkpointing: bool | None = Field(
        default=None,
        description="Whether activations are computed again in the backward pass: slower by about a third, "
        "for far less memory. Where absent: on for GPUs, off for cpu.",
    )
    launcher: Literal["auto", "job", "kuberay"] = Field(
        default="auto",
        description="What starts the processes. job: an Indexed Job; kuberay: KubeRay's RayJob, for backend "
        "nemo-rl; auto: job.",
    )
    resources: Resources | None = Field(
        default=None,
        description="Resources of a training pod, name by name over the role's and the defaults. GPUs follow "
        "gpusPerNode.",
    )


class Checkpoint(ApiModel):
    """What an interruption may cost, and which checkpoint becomes the model."""

    every_steps: Count = Field(
        default=20, description="Steps between checkpoints: at most so many are lost in an interruption."
    )
    keep: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3,
        description="Checkpoints that are kept on the claim: the newest, and with best the best ones; others "
        "are deleted.",
    )
    best: BestCheckpoint = Field(
        default="none",
        json_schema_extra=UNSET,
        description="Which checkpoint becomes the model. none: the last; validation-loss: that with the "
        "lowest loss on the validation rows (profile safety-blueprint).",
    )
    grace_seconds: Annotated[int, Field(ge=10, le=7200)] | None = Field(
        default=None,
        description="Time that a training pod has after SIGTERM for a last checkpoint. Where absent: by the "
        "size of a checkpoint, from 60 to 1800 seconds. What ends pods may give less, such as a spot node.",
    )


class Validation(ApiModel):
    """Loss on the validation rows."""

    every_steps: Count = Field(
        default=20, description="Steps between measurements of the loss on the validation rows."
    )
    early_stop_after: Annotated[int, Field(ge=1, le=10000)] | None = Field(
        default=None,
        description="Measurements in a row without a lower loss after which training ends; never "
        "where absent.",
    )


class NemoRl(NemoRlSettings):
    """Release and image of NeMo-RL."""

    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Image of that release, yours or a mirror's; nvcr.io/nvidia/nemo-rl:v<version> where absent."""
    run_as_root: bool = False
    """Whether NeMo-RL's container runs as root, without any capability, as the published image needs it. The
    namespace has to allow it (Pod Security level baseline)."""


class SafetyFinetuneSpec(RunSpec):
    """Model, data and settings of supervised fine-tuning."""

    model_config = config(
        (
            (
                "self.batch.global % (self.batch.micro * self.compute.nodes * "
                f"{_processes('self.compute')}) == 0"
            ),
            (
                "each process takes the same number of rows: make batch.global a multiple of batch.micro "
                "times compute.nodes times the processes of a node (compute.gpusPerNode, on cpu "
                "compute.processesPerNode)"
            ),
        ),
        rate_rule(),
        *profile_rules(),
        (
            "has(self.data.blendRef) || !has(self.checkpoint.best) || self.checkpoint.best == 'none'",
            "data.uri has no validation rows: set checkpoint.best to none, or name a SafetyBlend",
        ),
        (
            "has(self.data.blendRef) || !has(self.validation.earlyStopAfter)",
            "data.uri has no validation rows: leave validation.earlyStopAfter out, or name a SafetyBlend",
        ),
        (
            "!has(self.nemoRl) || self.backend == 'nemo-rl'",
            "nemoRl belongs to backend nemo-rl: set backend, or leave nemoRl out",
        ),
        (
            (
                "self.backend != 'nemo-rl' || has(self.nemoRl) && (has(self.nemoRl.image) || "
                "self.nemoRl.runAsRoot)"
            ),
            (
                "the published image of NeMo-RL starts as root only: set nemoRl.runAsRoot to true, which "
                "needs a namespace of Pod Security level baseline, or nemoRl.image to an image made from it "
                "that other users can start (docs/safetyfinetune.md)"
            ),
        ),
        (
            f"self.backend != 'nemo-rl' || !{_on_cpu('self.compute')}",
            "backend nemo-rl trains on GPUs: leave compute.device out or set it to gpu, or use backend trl",
        ),
        (
            "self.backend != 'nemo-rl' || self.compute.strategy != 'ddp'",
            "backend nemo-rl shards the model over its GPUs (fsdp): leave compute.strategy out",
        ),
        (
            "self.backend == 'nemo-rl' || self.compute.launcher != 'kuberay'",
            "launcher kuberay starts backend nemo-rl: leave compute.launcher out for trl",
        ),
        (
            (
                "self.backend != 'nemo-rl' || !has(self.validation.earlyStopAfter) || "
                "self.validation.everySteps % self.checkpoint.everySteps == 0"
            ),
            (
                "backend nemo-rl stops early where it has saved: make validation.everySteps a multiple of "
                "checkpoint.everySteps, or leave validation.earlyStopAfter out"
            ),
        ),
        (
            (
                "self.backend != 'nemo-rl' || !has(self.checkpoint.best) || self.checkpoint.best == 'none' "
                "|| self.checkpoint.everySteps % self.validation.everySteps == 0"
            ),
            (
                "backend nemo-rl keeps the best of the checkpoints that were measured: make "
                "checkpoint.everySteps a multiple of validation.everySteps, or set checkpoint.best to none"
            ),
        ),
    )

    pod: FinetunePods = Field(
        default=FinetunePods(), description="Options of all pods of this resource, over the chart's pods."
    )
    model: OwnedModel = Field(
        description="The model to train: a source, or the product of another SafetyFinetune."
    )
    data: TrainingData = Field(description="Training rows: those of a SafetyBlend, or files of your own.")
    profile: Profile | None = Field(
        default=None,
        description="Published settings for what the spec leaves out. safety-blueprint: those of NVIDIA's "
        "safety blueprint, made for method full of an 8B model on eight GPUs.",
    )
    backend: TrainingBackend = Field(
        default="trl", description="Training library: Hugging Face's TRL, or NVIDIA's NeMo-RL."
    )
    nemo_rl: NemoRl | None = Field(
        default=None, description="Backend nemo-rl: its release and image, the defaults where absent."
    )
    method: TrainMethod = Field(
        default=TrainMethod(), description="Whether all weights are trained, or low-rank adapters."
    )
    schedule: TrainSchedule = Field(default=TrainSchedule(), description="How long and how fast.")
    batch: Batch = Field(
        default=Batch(), description="Rows of a step and of a forward pass, and the longest row."
    )
    precision: Precision = Field(
        default="bf16",
        description="Data type of the computation; the weights that are trained stay in fp32. On CPU bf16 is "
        "fp32 where the processor has no bfloat16.",
    )
    seed: Annotated[int, Field(ge=0, le=2147483647)] = Field(default=42, description="Seed.")
    compute: Compute = Field(default=Compute(), description="Device, pods and resources of the training.")
    checkpoint: Checkpoint = Field(
        default=Checkpoint(),
        description="What an interruption may cost, and which checkpoint becomes the model.",
    )
    validation: Validation = Field(default=Validation(), description="Loss on the validation rows.")
    tracking: Tracking | None = Field(
        default=None,
        description="Where the numbers of the training are sent while it runs: MLflow, Weights & Biases, "
        "TensorBoard. They never stop or slow it.",
    )
    step_timeout_seconds: Annotated[int, Field(ge=10, le=604800)] | None = Field(
        default=None,
        description="A step that takes longer hangs: the processes are started again from the last "
        "checkpoint. No limit where absent.",
    )
    overrides: Annotated[
        dict[str, Any], Field(max_length=64, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
    ] = Field(
        default={},
        description="Raw arguments of the backend, merged last, recorded: of trl.SFTConfig, or dotted keys "
        "of NeMo-RL's configuration, such as policy.max_grad_norm.",
    )
    output: Output = Field(
        default=Output(), description="What is done with the model besides keeping it in the artifact store."
    )


class TrainingEstimate(ApiModel):
    """What a training is expected to take, as quantities such as 36.5Gi. Rows are taken to be full."""

    gpu_memory: Annotated[str, Field(max_length=32)] = Field(
        default="", description="Memory of each GPU, with rows of batch.maxSequenceLength tokens."
    )
    gpu_memory_least: Annotated[str, Field(max_length=32)] = Field(
        default="", description="Memory of each GPU for weights, gradients and optimizer alone."
    )
    gpu_memory_available: Annotated[str, Field(max_length=32)] = Field(
        default="", description="Memory that a GPU has; absent: neither compute nor a nodeSelector says."
    )
    checkpoint_memory: Annotated[str, Field(max_length=32)] = Field(
        default="",
        description="Memory of each training pod for the copy from which checkpoints are written while "
        "training goes on; with strategy ddp of the first pod. Absent: training waits for checkpoints.",
    )
    disk: Annotated[str, Field(max_length=32)] = Field(
        default="", description="Room on the claim for checkpoints and the trained model."
    )
    disk_available: Annotated[str, Field(max_length=32)] = Field(
        default="", description="Room that the claim had when the model was fetched; absent: not known."
    )
    unknown: Annotated[str, Field(max_length=256)] = Field(
        default="", description="Why there is no estimate."
    )


class ChosenSettings(ApiModel):
    """What was chosen where the spec leaves a choice to its profile, the method or the device."""

    epochs: NonNegative | None = Field(default=None, description="Passes over the data.")
    steps: int | None = Field(default=None, description="Optimizer steps, instead of epochs.")
    learning_rate: NonNegative | None = Field(default=None, description="Peak learning rate.")
    min_learning_rate: NonNegative | None = Field(default=None, description="Learning rate at the end.")
    warmup_steps: int | None = Field(default=None, description="Steps of linear warm-up.")
    best: BestCheckpoint | None = Field(default=None, description="Which checkpoint becomes the model.")
    device: Device | None = Field(default=None, description="Where training runs.")
    processes: int | None = Field(default=None, description="Processes over all pods.")
    strategy: Strategy | None = Field(
        default=None, description="How several processes share the model; absent for one."
    )
    gradient_checkpointing: bool | None = Field(
        default=None, description="Whether activations are computed again in the backward pass."
    )
    launcher: Launcher | None = Field(default=None, description="What starts the processes.")


class FinetuneReportStatus(ArtifactStatus):
    """Where the report is."""

    html: Annotated[str, Field(max_length=2048)] = Field(
        default="", description="The report's page for people, with the curves, as pvc://claim/path."
    )


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
    output: FinetuneOutputStatus | None = Field(
        default=None, description="Where the trained model is, its digest, and where it was pushed to."
    )
    report: FinetuneReportStatus | None = Field(
        default=None, description="Page, model card and metrics of the training, a folder of its own."
    )
    settings: ChosenSettings | None = Field(
        default=None, description="Settings that training has where the spec leaves them out."
    )
    estimate: TrainingEstimate | None = Field(
        default=None, description="What the training is expected to take; absent until the model is fetched."
    )
