"""NeMo-RL's configuration from the settings of a training: complete, so that no default is inherited.

Renders for release 0.7.0; :mod:`.versions` says which function renders for which release. Pure.
"""

from typing import NamedTuple

from safety_records.finetune_stages import PrepareStage
from safety_records.nemo_rl.configuration import VALIDATION_LOSS, Tree
from safety_records.training import TrainMethod

FIRST_FACTOR = 1.0e-8
"""Of the peak learning rate at the first step of a warm-up: as good as none, and LinearLR refuses 0."""

FOREVER = 10_000_000_000
"""Steps of a constant rate."""

OUTPUT_HEAD = "lm_head"
"""A linear layer at the top of the model, which adapters leave alone unless it is named."""

JOINING = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
"""The chat template by which NeMo-RL renders: contents are finished text, by the model's own template."""

SCHEDULES = "torch.optim.lr_scheduler"


class Steps(NamedTuple):
    """How long a training is."""

    all: int
    of_epoch: int
    """Whole batches of one pass over the rows."""


class Places(NamedTuple):
    """Paths as the training's pods see them."""

    model: str
    train: str
    validation: str
    """Empty: there are no validation rows."""
    checkpoints: str
    logs: str


def render(spec: PrepareStage, steps: Steps, places: Places) -> Tree:
    """The configuration as NeMo-RL's file has it, without overrides."""
    return {
        "sft": _sft(spec, steps, validate=bool(places.validation)),
        "checkpointing": _checkpointing(spec, places),
        "policy": _policy(spec, steps, places),
        "data": _data(spec, places),
        "logger": _logger(places),
        "cluster": {"gpus_per_node": spec.processes, "num_nodes": spec.nodes},
    }


def _sft(spec: PrepareStage, steps: Steps, *, validate: bool) -> Tree:
    return {
        "max_num_epochs": -(-steps.all // steps.of_epoch),
        "max_num_steps": steps.all,
        "val_period": spec.validation_steps if validate else -1,
        "val_batches": 0,  # all of them
        "val_global_batch_size": spec.global_batch,
        "val_micro_batch_size": spec.micro_batch,
        "val_at_start": False,
        "val_at_end": validate,
        "seed": spec.seed,
        "only_unmask_final": False,
    }


def _checkpointing(spec: PrepareStage, places: Places) -> Tree:
    by_loss = spec.best == "validation-loss" or spec.early_stop_after is not None
    return {
        "enabled": True,
        "checkpoint_dir": places.checkpoints,
        "metric_name": VALIDATION_LOSS if by_loss else None,
        "higher_is_better": False,
        "keep_top_k": spec.checkpoint_keep,
        "save_period": spec.checkpoint_steps,
        "checkpoint_must_save_by": None,
        "save_optimizer": True,
        "model_save_format": "safetensors",
        "save_consolidated": False,
        "is_async": False,
    }


def _policy(spec: PrepareStage, steps: Steps, places: Places) -> Tree:
    return {
        "model_name": places.model,
        "tokenizer": {"name": places.model, "chat_template": JOINING, "chat_template_kwargs": None},
        "train_global_batch_size": spec.global_batch,
        "train_micro_batch_size": spec.micro_batch,
        "max_total_sequence_length": spec.max_sequence_length,
        "precision": {"bf16": "bfloat16", "fp32": "float32"}[spec.precision],
        "dtensor_cfg": _dtensor(spec),
        "dynamic_batching": {"enabled": False},
        "sequence_packing": _packing(spec),
        "make_sequence_length_divisible_by": 1,
        "max_grad_norm": spec.max_grad_norm,
        "optimizer": {
            "name": "torch.optim.AdamW",
            "kwargs": {
                "lr": spec.learning_rate,
                "betas": list(spec.betas),
                "weight_decay": spec.weight_decay,
                "eps": 1.0e-08,
                "foreach": False,
                "fused": False,
            },
        },
        "scheduler": schedulers(spec, steps.all),
        "megatron_cfg": {"enabled": False},
    }


def _dtensor(spec: PrepareStage) -> Tree:
    return {
        "enabled": True,
        "_v2": True,
        "env_vars": {},
        "cpu_offload": False,
        "sequence_parallel": False,
        "activation_checkpointing": spec.gradient_checkpointing,
        "tensor_parallel_size": 1,
        "context_parallel_size": 1,
        "custom_parallel_plan": None,
        "automodel_kwargs": {},
        "lora_cfg": lora(spec.method),
    }


def lora(method: TrainMethod) -> Tree:
    """Adapters, by patterns over whole paths: a bare name would match nothing but a module at the top.

    Without names, all linear layers but the output head, as PEFT understands it.
    """
    if method.type == "full":
        return {"enabled": False}
    named = [f"*{name}" if name == OUTPUT_HEAD else rf"*\.{name}" for name in method.target_modules]
    return {
        "enabled": True,
        "target_modules": named,
        "exclude_modules": [] if named else [OUTPUT_HEAD],
        "match_all_linear": False,
        "dim": method.rank,
        "alpha": method.alpha,
        "dropout": 0.0,
        "dropout_position": "post",
        "lora_A_init": "xavier",
        "use_triton": False,
    }


def _packing(spec: PrepareStage) -> Tree:
    if not spec.packing:
        return {"enabled": False}
    return {
        "enabled": True,
        "train_mb_tokens": spec.max_sequence_length * spec.micro_batch,
        "algorithm": "modified_first_fit_decreasing",
    }


def schedulers(spec: PrepareStage, steps: int) -> list[Tree]:
    """The learning rate as a list that ends with the step at which the decay begins.

    Equal to transformers' own schedules to 5e-15. Where the warm-up takes all steps it stands alone: a cosine
    over no steps divides by zero.
    """
    warmup, rest = spec.warmup_steps, steps - spec.warmup_steps
    rising = {"start_factor": FIRST_FACTOR, "end_factor": 1.0, "total_iters": warmup}
    first = [{"name": f"{SCHEDULES}.LinearLR", "kwargs": rising}] if warmup else []
    then = [_decay(spec, rest)] if rest else []
    return [*first, *then, {"milestones": [warmup] if first and then else []}]


def _decay(spec: PrepareStage, steps: int) -> Tree:
    match spec.decay:
        case "cosine":
            name, kwargs = "CosineAnnealingLR", {"T_max": steps, "eta_min": spec.min_learning_rate}
        case "linear":
            end = spec.min_learning_rate / spec.learning_rate if spec.learning_rate else 1.0
            name, kwargs = "LinearLR", {"start_factor": 1.0, "end_factor": end, "total_iters": steps}
        case "constant":
            name, kwargs = "ConstantLR", {"factor": 1.0, "total_iters": FOREVER}
    return {"name": f"{SCHEDULES}.{name}", "kwargs": kwargs}


def _data(spec: PrepareStage, places: Places) -> Tree:
    return {
        "max_input_seq_length": spec.max_sequence_length + 1,  # the shortest length that gets no loss
        "add_bos": False,  # all that belongs to a row is in its text
        "add_eos": False,
        "add_generation_prompt": False,
        "shuffle": True,
        "num_workers": 1,
        "train": _rows(places.train),
        "validation": _rows(places.validation) if places.validation else None,
        "default": {"prompt_file": None, "system_prompt_file": None, "processor": "sft_processor"},
    }


def _rows(path: str) -> Tree:
    return {
        "dataset_name": "openai_format",
        "data_path": path,
        "chat_key": "messages",
        "tool_key": None,
        "use_preserving_dataset": False,
    }


def _logger(places: Places) -> Tree:
    return {
        "log_dir": places.logs,
        "wandb_enabled": False,
        "swanlab_enabled": False,
        "tensorboard_enabled": True,
        "mlflow_enabled": False,
        "monitor_gpus": False,
        "wandb": {},
        "tensorboard": {},
        "gpu_monitoring": {"collection_interval": 10, "flush_interval": 10},
    }
