"""NeMo-RL's configuration of supervised fine-tuning with the DTensor backend, key by key, for release 0.7.0.

NeMo-RL itself lets mistyped keys pass, has defaults for much, and reads other keys without a default although
its types call them optional. Here every key is known, and what NeMo-RL reads must be there; what its types
allow beyond that is optional. Sources are the TypedDicts of NeMo-RL v0.7.0 (``models/policy``, ``data``,
``utils/checkpoint.py``, ``utils/logger.py``, ``distributed/virtual_cluster.py``, ``algorithms/sft.py``).
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Tree = dict[str, Any]
"""A configuration, or a part of it, as YAML has it."""

VALIDATION_LOSS = "val:val_loss"
"""NeMo-RL's name of the loss on the validation rows, as the metric of checkpoints and in their record."""

Number = int | float
Positive = Annotated[int, Field(ge=1)]
Argument = bool | int | float | str | None | list[Number]
"""An argument of an optimizer or a schedule."""


class Section(BaseModel):
    """A part of the configuration: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Disabled(Section):
    """Something that is switched off."""

    enabled: Literal[False]


class Sft(Section):
    """How long it trains and when it validates."""

    max_num_epochs: Positive
    max_num_steps: Positive
    val_period: int
    val_batches: int
    val_global_batch_size: Positive
    val_micro_batch_size: Positive
    val_at_start: bool
    val_at_end: bool
    seed: int
    only_unmask_final: bool


class Checkpointing(Section):
    """What is saved when."""

    enabled: Literal[True]
    checkpoint_dir: str
    metric_name: str | None
    higher_is_better: bool
    keep_top_k: Positive
    save_period: Positive
    checkpoint_must_save_by: str | None
    save_optimizer: Literal[True]
    model_save_format: Literal["safetensors"]
    save_consolidated: bool
    is_async: Literal[False]


class Tokenizer(Section):
    """The model's own tokenizer."""

    name: str
    chat_template: str
    chat_template_kwargs: dict[str, Any] | None


class Lora(Section):
    """Low-rank adapters."""

    enabled: Literal[True]
    target_modules: list[str]
    exclude_modules: list[str]
    match_all_linear: bool
    dim: Positive
    alpha: Positive
    dropout: Number
    dropout_position: Literal["pre", "post"]
    lora_A_init: str  # noqa: N815 - NeMo-RL's name
    use_triton: bool


class MoEParallelizer(Section):
    """Options for mixtures of experts."""

    ignore_router_for_ac: bool = False
    reshard_after_forward: bool = False
    lm_head_precision: str | None = None
    wrap_outer_model: bool = False


class AutomodelOptions(Section):
    """How Automodel builds the model."""

    use_liger_kernel: bool = False
    force_hf: bool = False
    attn_implementation: str | None = None
    backend: dict[str, Any] = {}
    freeze_config: dict[str, bool] = {}


class DTensor(Section):
    """How the model is divided among GPUs."""

    enabled: Literal[True]
    v2: Literal[True] = Field(alias="_v2")
    env_vars: dict[str, str] | None
    cpu_offload: bool
    sequence_parallel: bool
    activation_checkpointing: bool
    tensor_parallel_size: Positive
    context_parallel_size: Positive
    expert_parallel_size: Positive = 1
    dp_replicate_size: Positive = 1
    custom_parallel_plan: str | None
    defer_fsdp_grad_sync: bool = False
    moe_parallelizer: MoEParallelizer | None = None
    lora_cfg: Lora | Disabled = Field(discriminator="enabled")
    automodel_kwargs: AutomodelOptions
    clear_cache_every_n_steps: int | None = None


class DynamicBatching(Section):
    """Micro batches of about so many tokens."""

    enabled: Literal[True]
    train_mb_tokens: Positive
    sequence_length_round: Positive


class SequencePacking(Section):
    """Several rows in a sequence; needs flash attention 2."""

    enabled: Literal[True]
    train_mb_tokens: Positive
    algorithm: str


class Optimizer(Section):
    """A class and its arguments."""

    name: str
    kwargs: dict[str, Argument]


class Schedule(Section):
    """A class of learning-rate schedules and its arguments."""

    name: str
    kwargs: dict[str, Argument]


class Milestones(Section):
    """Steps at which the next schedule begins; the last entry of the list."""

    milestones: list[int]


class Policy(Section):
    """The model and how it is trained."""

    model_name: str
    tokenizer: Tokenizer
    train_global_batch_size: Positive
    train_micro_batch_size: Positive
    max_total_sequence_length: Positive
    precision: Literal["float32", "bfloat16", "float16"]
    dtensor_cfg: DTensor
    dynamic_batching: DynamicBatching | Disabled = Field(discriminator="enabled")
    sequence_packing: SequencePacking | Disabled = Field(discriminator="enabled")
    make_sequence_length_divisible_by: Positive
    max_grad_norm: Number | None
    optimizer: Optimizer
    scheduler: list[Schedule | Milestones] = Field(min_length=2)
    megatron_cfg: Disabled
    hf_config_overrides: dict[str, Any] = {}


class Rows(Section):
    """A file of conversations, as JSON lines."""

    dataset_name: Literal["openai_format"]
    data_path: str
    chat_key: str
    tool_key: str | None
    use_preserving_dataset: Literal[False]


class RowDefaults(Section):
    """What each data set has unless it says otherwise."""

    prompt_file: None
    system_prompt_file: None
    processor: Literal["sft_processor"]


class Data(Section):
    """What is read and how it becomes tokens."""

    max_input_seq_length: Positive
    add_bos: bool
    add_eos: bool
    add_generation_prompt: bool
    shuffle: bool
    num_workers: int = Field(ge=0)
    train: Rows
    validation: Rows | None
    default: RowDefaults


class GpuMonitoring(Section):
    """Has to be there, although nothing is monitored."""

    collection_interval: Number
    flush_interval: Number


class Logger(Section):
    """Numbers go to TensorBoard files, which progress is read from."""

    log_dir: str
    wandb_enabled: Literal[False]
    swanlab_enabled: Literal[False]
    tensorboard_enabled: Literal[True]
    mlflow_enabled: Literal[False]
    monitor_gpus: Literal[False]
    wandb: dict[str, str]
    tensorboard: dict[str, str]
    gpu_monitoring: GpuMonitoring


class Cluster(Section):
    """GPUs and the ports of their rendezvous."""

    gpus_per_node: Positive
    num_nodes: Positive
    master_port_range_low: Positive | None = None
    master_port_range_high: Positive | None = None
    segment_size: Positive | None = None


class Configuration(Section):
    """The whole file."""

    sft: Sft
    checkpointing: Checkpointing
    policy: Policy
    data: Data
    logger: Logger
    cluster: Cluster
