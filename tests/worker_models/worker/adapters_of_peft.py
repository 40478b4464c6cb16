"""Writes base models, adapters, and what PEFT itself merges of them. Run with the worker's own Python.

Usage: adapters_of_peft.py FOLDER CASES. CASES is JSON: by name of a case "base" (llama, tied or gpt2),
"tokens" (number of tokens to resize to; absent: the base's), and settings of LoraConfig.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

warnings.simplefilter("ignore")
LLAMA = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": None,
}


def write_bases(folder: Path) -> None:
    torch.manual_seed(0)
    models = {
        "llama": LlamaForCausalLM(LlamaConfig(**LLAMA)).to(torch.bfloat16),
        "tied": LlamaForCausalLM(LlamaConfig(**LLAMA, tie_word_embeddings=True)).to(torch.float16),
        "gpt2": GPT2LMHeadModel(
            GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=1)
        ),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name, max_shard_size="40KB" if name == "llama" else "1GB")
        (folder / name / "tokenizer.json").write_text("{}", encoding="utf-8")


def load(base: Path, tokens: int | None) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    if tokens:
        model.resize_token_embeddings(tokens)
    return model


def write_case(folder: Path, name: str, settings: dict[str, Any]) -> None:
    base, tokens = folder / settings.pop("base"), settings.pop("tokens", None)
    model = get_peft_model(load(base, tokens), LoraConfig(task_type="CAUSAL_LM", **settings))
    for label, parameter in model.named_parameters():
        if "lora_" in label or "modules_to_save" in label:
            parameter.data = torch.randn(parameter.shape).mul(0.3).to(parameter.dtype)
    model.save_pretrained(folder / name)
    fresh = PeftModel.from_pretrained(load(base, tokens), folder / name)
    fresh.merge_and_unload().save_pretrained(folder / f"{name}-merged")


write_bases(Path(sys.argv[1]))
for case, wanted in json.loads(sys.argv[2]).items():
    write_case(Path(sys.argv[1]), case, wanted)
