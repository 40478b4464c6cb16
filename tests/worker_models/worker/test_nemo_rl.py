"""Prepare and export of NeMo-RL with the real libraries, on checkpoints as Automodel writes them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tests.unit.worker.conftest import Workplace
from tests.worker_models.worker.tiny_model import write_tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from safety_records.stages import parse_stage_spec
from safety_worker.artifacts.digests import sha256_file
from safety_worker.dispatch import run_stage
from safety_worker.errors import InfrastructureError, InputError

WEIGHTS = "train.work/checkpoints/step_6/policy/weights/model"
COMMON = {"namespace": "n", "kind": "SafetyFinetune", "name": "f", "inputsHash": "h"}


@pytest.fixture
def base(workplace: Workplace) -> Path:
    folder = workplace.artifacts / "base"
    write_tiny_model(folder)
    return folder


def run(workplace: Workplace, stage: str, **fields: Any) -> Any:
    values = {
        **COMMON,
        "root": f"file://{workplace.artifacts}",
        "out": stage,
        "stage": stage,
        "model": "base",
    }
    return run_stage(parse_stage_spec(json.dumps({**values, **fields})), workplace.context)


def finish(folder: Path, loss: float | None = None) -> None:
    """What else belongs to a checkpoint, beside its weights."""
    step = folder.parents[2]
    (step / "policy/optimizer/optim").mkdir(parents=True)
    (step / "policy/optimizer/optim/.metadata").write_bytes(b"m")
    info = {"total_steps": 6} | ({} if loss is None else {"val:val_loss": loss})
    (step / "training_info.json").write_text(json.dumps(info), encoding="utf-8")
    (step.parents[1] / "metrics.jsonl").write_text('{"step": 6, "loss": 1.0}\n', encoding="utf-8")


def save_shards(weights: dict[str, torch.Tensor], folder: Path, processes: int) -> None:
    """A file for each process with its rows of each tensor; the last has fewer, and norms are everywhere."""
    folder.mkdir(parents=True)
    for rank in range(processes):
        parts, places = {}, {}
        for name, weight in weights.items():
            rows = len(weight) if name.endswith("norm.weight") else -(-len(weight) // processes)
            begin = 0 if name.endswith("norm.weight") else rank * rows
            part = weight[begin : begin + rows].clone()
            if part.numel():
                parts[name] = part
                places[name] = {"saved_offsets": [begin, *(0 for _ in weight.shape[1:])]}
        info = {"DCP_SHARDING_INFO": json.dumps(places), "DCP_VERSION": "1.0", "format": "pt"}
        save_file(parts, folder / f"shard-{rank + 1:05}-model-00001-of-00001.safetensors", info)
    (folder / ".hf_metadata").mkdir()


def trained(base: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    known = load_file(base / "model.safetensors")
    return {name: value.float() + torch.randn_like(value.float()) * 0.01 for name, value in known.items()}


@pytest.mark.parametrize("processes", [1, 3])
def test_shards_of_any_number_of_processes_become_the_base_with_other_weights(workplace, base, processes):
    weights = trained(base)
    save_shards(weights, workplace.artifacts / WEIGHTS, processes)
    finish(workplace.artifacts / WEIGHTS)
    result = run(workplace, "export", trained="train")

    out = workplace.artifacts / "export"
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    found = model.state_dict()
    assert all(torch.equal(found[name], weight.bfloat16()) for name, weight in weights.items())
    assert (
        AutoTokenizer.from_pretrained(out).chat_template == AutoTokenizer.from_pretrained(base).chat_template
    )
    for name in ("config.json", "tokenizer.json", "generation_config.json"):
        assert sha256_file(out / name) == sha256_file(base / name)
    assert result.output is not None
    assert result.output.digest.startswith("sha256:")
    assert not (workplace.artifacts / "train.work/checkpoints").exists()


def test_a_head_that_is_the_embedding_may_be_saved_once_or_twice(workplace, base):
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}), encoding="utf-8")
    weights = load_file(base / "model.safetensors")
    head = weights.pop("lm_head.weight")
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    save_shards(trained(base) | {"lm_head.weight": head.float()}, workplace.artifacts / WEIGHTS, 2)
    finish(workplace.artifacts / WEIGHTS)
    run(workplace, "export", trained="train")
    assert "lm_head.weight" not in load_file(workplace.artifacts / "export/model.safetensors")


def test_a_checkpoint_with_a_part_missing_or_of_another_model_is_refused(workplace, base):
    weights, folder = trained(base), workplace.artifacts / WEIGHTS
    save_shards(weights, folder, 2)
    finish(folder)
    (folder / "shard-00001-model-00001-of-00001.safetensors").unlink()
    with pytest.raises(InfrastructureError, match=r"do not make a whole|does not fit"):
        run(workplace, "export", trained="train")
    save_file({"other": torch.zeros(2)}, folder / "shard-00002-model-00001-of-00001.safetensors")
    with pytest.raises(InfrastructureError, match="does not fit its base model"):
        run(workplace, "export", trained="train")


def test_adapters_are_merged_as_peft_merges_them_and_kept(workplace, base):
    model = AutoModelForCausalLM.from_pretrained(base)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"]))
    torch.manual_seed(2)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    folder = workplace.artifacts / WEIGHTS
    adapted.save_pretrained(folder)
    finish(folder, loss=0.5)
    run(workplace, "export", trained="train", method={"type": "lora"}, best="validation-loss")

    out = workplace.artifacts / "export"
    whole = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out / "adapter")
    expected = whole.merge_and_unload().state_dict()
    found = AutoModelForCausalLM.from_pretrained(out).state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    assert json.loads((out / "export.json").read_text(encoding="utf-8"))["checkpoint"] == "step_6"


def write_rows(path: Path, lengths: list[int]) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "w1 " * n}, {"role": "assistant", "content": "w2 w3"}]}
        for n in lengths
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def prepare(workplace: Workplace, **changes: Any) -> Any:
    values = {
        "backend": "nemo-rl", "train": "train.jsonl", "validation": "validation.jsonl", "epochs": 2.0,
        "learningRate": 1e-5, "globalBatch": 4, "microBatch": 1, "maxSequenceLength": 32, "precision": "bf16",
        "checkpointSteps": 2, "checkpointKeep": 2, "validationSteps": 2, "device": "gpu", "nodes": 1,
        "processes": 2,
    }  # fmt: skip
    return run(workplace, "prepare", **{**values, **changes})


def test_a_training_is_prepared_with_its_rows_counted_and_its_configuration_whole(workplace, base):
    assert base.is_dir()
    write_rows(workplace.artifacts / "train.jsonl", [2, 3, 4, 2, 3, 4, 2, 3, 4, 30])
    write_rows(workplace.artifacts / "validation.jsonl", [2, 3])
    result = prepare(workplace)
    assert (result.train_rows, result.validation_rows, result.max_length) == (9, 2, 10)
    assert result.warnings == (
        "train.jsonl: 1 of 10 rows are left out: their prompts fill batch.maxSequenceLength",
    )
    out = workplace.artifacts / "prepare"
    tree = yaml.safe_load((out / "config.yaml").read_text(encoding="utf-8"))
    assert tree["sft"]["max_num_steps"] == 4
    assert tree["policy"]["model_name"] == str(base)
    rows = (out / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 9
    asked, said = json.loads(rows[0])["messages"]
    assert asked == {"role": "user", "content": "<|user|> w1 w1  <|end|> <|assistant|> "}
    assert said == {"role": "assistant", "content": "w2 w3 <|end|> "}
    assert json.loads((out / "plan.json").read_text(encoding="utf-8"))["train"]["trained"] == 9 * 3


def test_rows_that_are_too_long_and_few_rows_are_refused(workplace, base):
    assert base.is_dir()
    write_rows(workplace.artifacts / "train.jsonl", [2, 3, 4, 30])
    write_rows(workplace.artifacts / "validation.jsonl", [2, 3])
    with pytest.raises(InputError, match=r"RowsTooLong: train.jsonl: 1 of 4"):
        prepare(workplace, longRows="refuse")
    with pytest.raises(InputError, match="TooFewRows: 3 training rows"):
        prepare(workplace)
