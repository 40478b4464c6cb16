"""Build TRL's trainer from a specification. The only module that knows TRL's arguments."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.compute as pc
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, PrinterCallback
from transformers.distributed import DistributedConfig
from transformers.pytorch_utils import Conv1D
from trl import SFTConfig

from safety_records.finetune_stages import TrainStage
from safety_worker.errors import InputError
from safety_worker.models.model_folder import max_length
from safety_worker.training.data import IGNORED, Rows, arrange
from safety_worker.training.encoding import learn_marked, read_rows
from safety_worker.training.planning import TrainPlan, scheduler_arguments
from safety_worker.training.throughput import ModelSize, find_peak, flops_per_token, is_sparse
from safety_worker.training.trl.callback import Watch
from safety_worker.training.trl.export import check_names
from safety_worker.training.trl.sharded import Trainer


class Inputs(NamedTuple):
    """What training starts from."""

    tokenizer: PreTrainedTokenizerBase
    train: Rows
    validation: Rows | None
    model_max_length: int | None
    warnings: tuple[str, ...] = ()
    """What is odd about the training rows."""


def load_inputs(spec: TrainStage, root: Path) -> Inputs:
    """Read tokenizer, rows and the model's limits; the weights come later, once all this is in order.

    Raises
    ------
    InputError
        If the model has no chat template, or one that asks otherwise than it teaches, or the rows are wrong.
    """
    folder = root / spec.model
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = read_rows(tokenizer, [root / file for file in (spec.train, spec.validation) if file])
    arranged = [
        arrange(
            file.rows,
            learn_marked(tokenizer, file) if found.marked else None,
            max_length=spec.max_sequence_length,
            refuse_from=file.name if spec.long_rows == "refuse" else None,
        )
        for file in found.files
    ]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return Inputs(
        tokenizer=tokenizer,
        train=arranged[0],
        validation=arranged[1] if spec.validation else None,
        model_max_length=max_length(config),
        warnings=found.warnings,
    )


def trainer_arguments(spec: TrainStage, plan: TrainPlan, output: Path, *, validate: bool) -> dict[str, Any]:
    """Arguments of ``trl.SFTConfig``; the specification's overrides are merged last.

    Parameters
    ----------
    spec
        The stage.
    plan
        Its plan.
    output
        Folder of the checkpoints.
    validate
        Whether there are validation rows.
    """
    on_cpu = spec.device == "cpu"
    return {
        "output_dir": str(output),
        "max_steps": plan.steps,
        "per_device_train_batch_size": spec.micro_batch,
        "per_device_eval_batch_size": spec.micro_batch,
        "gradient_accumulation_steps": plan.accumulation,
        "learning_rate": spec.learning_rate,
        "warmup_steps": spec.warmup_steps,
        **scheduler_arguments(spec),
        "weight_decay": spec.weight_decay,
        "adam_beta1": spec.betas[0],
        "adam_beta2": spec.betas[1],
        "max_grad_norm": spec.max_grad_norm,
        "max_length": spec.max_sequence_length,
        "packing": spec.packing,
        "eval_packing": False,
        "bf16": spec.precision == "bf16",
        "gradient_checkpointing": spec.gradient_checkpointing,
        "use_cpu": on_cpu,
        "ddp_backend": "gloo" if on_cpu and plan.world_size > 1 else None,
        "dataloader_pin_memory": not on_cpu,
        "seed": spec.seed,
        "data_seed": spec.seed,
        "save_strategy": "no",  # callback.Watch says when, and prunes once the new checkpoint is complete
        "eval_strategy": "steps" if validate else "no",
        "eval_steps": spec.validation_steps,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would log a diverged loss as 0
        "include_num_input_tokens_seen": "non_padding",
        "disable_tqdm": True,
        "report_to": "none",
        **spec.overrides,
    }


def build_trainer(spec: TrainStage, inputs: Inputs, plan: TrainPlan, root: Path, watch: Watch) -> Trainer:
    """Load the weights and put the trainer together.

    Raises
    ------
    InputError
        If the overrides name an argument that TRL does not have, or an adapter cannot be where it is wanted.
    """
    peers = watch.peers
    frozen = spec.method.type == "lora"
    shards = spec.strategy == "fsdp" and peers.number > 1
    model = load_model(spec, root, peers.number if shards else 1, peers.place.local_rank)
    if shards and not frozen:
        check_names(root / spec.model, model.state_dict().keys())
    check_targets(model, spec.method.target_modules)
    validate = inputs.validation is not None and bool(inputs.validation.rows)
    try:
        arguments = SFTConfig(**trainer_arguments(spec, plan, watch.checkpoints, validate=validate))
    except (TypeError, ValueError) as error:
        raise InputError("InvalidOverrides", f"overrides: {error}") from error
    trainer = Trainer(
        peers=peers,
        shards=shards,
        adapters=frozen,
        saving=watch.saving,
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(inputs.train.rows),
        eval_dataset=Dataset.from_list(inputs.validation.rows) if validate and inputs.validation else None,
        processing_class=inputs.tokenizer,
        peft_config=lora_config(spec) if frozen else None,
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)  # standard output is for progress lines
    return trainer


def load_model(spec: TrainStage, root: Path, shards: int, local_rank: int) -> Any:
    """Load the base; of a sharded model each process its part only, else all of it straight to its GPU.

    By way of the pod's memory, eight processes would need eight copies there.

    Weights that are trained are kept in float32, and bf16 is what is computed in: pure bfloat16 weights lose
    most of an update at the small learning rates of fine-tuning. Frozen weights (LoRA) are loaded in bfloat16
    where that is the precision. Shards are gathered in bf16, and gradients added up in float32.

    Raises
    ------
    InputError
        If the model's architecture cannot be sharded.
    """
    lower = spec.precision == "bf16"
    dtype = torch.bfloat16 if spec.method.type == "lora" and lower else torch.float32
    more: dict[str, Any] = {}
    if spec.device == "gpu" and shards == 1:
        more["device_map"] = {"": torch.device("cuda", local_rank)}
    if shards > 1:
        more["distributed_config"] = DistributedConfig(fsdp_size=shards, fsdp_mixed_precision=lower)
    try:
        model = AutoModelForCausalLM.from_pretrained(root / spec.model, dtype=dtype, **more)
    except ValueError as error:
        if "FSDP2 plan" not in str(error):
            raise
        raise InputError(
            "CannotShard",
            "compute.strategy: transformers does not know how to shard this architecture: use ddp",
        ) from error
    model.config.use_cache = False
    return model


class TokenCounts(NamedTuple):
    """Tokens of the training rows, as they are trained on."""

    rows: int
    """Sequences; fewer than rows where they are packed."""
    tokens: int
    trained: int
    """Those that count for the loss."""


def count_tokens(trainer: Trainer) -> TokenCounts:
    """Count what the trainer has made of the rows: after cutting, masking and packing.

    Raises
    ------
    InputError
        If nothing would be learnt.
    """
    rows: Any = trainer.train_dataset
    labels = pc.list_flatten(rows.with_format("arrow")[:]["labels"])
    trained = pc.sum(pc.not_equal(labels, IGNORED)).as_py() or 0
    if not trained:
        raise InputError("NothingTrained", "data: no token of the rows is the assistant's: nothing is learnt")
    return TokenCounts(len(rows), len(labels), trained)


def describe_model(trainer: Trainer, tokens: TokenCounts) -> tuple[float, float | None]:
    """Arithmetic of a token of this training, and the GPU's peak where it is known.

    Of models with experts no peak is given: not all of their weights are used for a token.
    """
    model: Any = trainer.model
    config = model.config.get_text_config()
    weights = {id(p): p for p in model.parameters()}
    table = model.get_input_embeddings().weight
    tied = getattr(model.get_output_embeddings(), "weight", None) is table
    size = ModelSize(
        parameters=sum(p.numel() for p in weights.values()) - (0 if tied else table.numel()),
        trained=sum(p.numel() for p in weights.values() if p.requires_grad),
        layers=int(getattr(config, "num_hidden_layers", 0)),
        hidden=int(getattr(config, "hidden_size", 0)),
    )
    known = torch.cuda.is_available() and not is_sparse(config)
    peak = find_peak(torch.cuda.get_device_name()) if known else None
    return flops_per_token(size, tokens.tokens / tokens.rows), peak


def check_targets(model: Any, wanted: Sequence[str]) -> None:
    """Refuse modules that the model does not have, and those whose weight is used at both of its ends.

    A merged adapter would change the other end as well, or be lost: the model would not be the trained one.
    """
    kinds = (torch.nn.Linear, torch.nn.Embedding, Conv1D)
    modules = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    tied = ends if ends[1] is not None and ends[0].weight is ends[1].weight else ()
    for target in wanted:
        found = [module for name, module in modules.items() if f".{name}".endswith(f".{target}")]
        if not found:
            there = ", ".join(sorted({name.rpartition(".")[2] for name in modules}))
            raise InputError(
                "NoTargetModules", f"method.targetModules: the model has no {target}; it has {there}"
            )
        if any(module in tied for module in found):
            raise InputError(
                "TiedTargetModules",
                f"method.targetModules: {target} shares its weights with the other end of the model, so "
                "that an adapter on it cannot be merged: leave it out",
            )


def lora_config(spec: TrainStage) -> LoraConfig:
    """LoRA without drop-out, so that a resumed training equals an uninterrupted one."""
    return LoraConfig(
        r=spec.method.rank,
        lora_alpha=spec.method.alpha,
        lora_dropout=0.0,
        target_modules=list(spec.method.target_modules) or "all-linear",
        task_type="CAUSAL_LM",
    )
