"""Writes a tiny random llama with a tokenizer and a chat template. With the worker's own Python only.

Usage: tiny_model.py FOLDER [JSON object with changes of the configuration]
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|> {{ message['content'] }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)
SPECIAL = ["<|pad|>", "<|user|>", "<|assistant|>", "<|end|>", "<|unknown|>"]


def write_tiny_model(folder: Path, changes: dict[str, Any] | None = None) -> None:
    """Write the model; ``changes`` of the configuration."""
    changes = changes or {}
    words = [*SPECIAL, *(f"w{n}" for n in range(95))]
    tokenizer = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<|unknown|>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", unk_token="<|unknown|>"
    )
    fast.chat_template = TEMPLATE
    torch.manual_seed(0)
    values = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 3,
    }
    config = LlamaConfig(**(values | changes))
    dtype = getattr(torch, changes.get("dtype", "bfloat16"))
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    fast.save_pretrained(folder)


if __name__ == "__main__":
    write_tiny_model(Path(sys.argv[1]), json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
