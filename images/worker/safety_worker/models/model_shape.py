"""Sizes of a model, read from its configuration and the headers of its weights.

Called by the fetch stage, so that training is estimated before a GPU is asked for. No estimate is a reason to
refuse a model: what is not there gives no sizes.
"""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from safety_records.model_shape import ModelShape
from safety_worker.models.weights import LENGTH_BYTES

EXPERTS = ("num_experts_per_tok", "num_experts_per_token")
"""Keys for how many experts a token passes."""


def read_shape(folder: Path) -> ModelShape | None:
    """Sizes of the model in a folder whose files were checked; None where they do not say."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = sorted(folder.glob("*.safetensors"))
    numbers = sum(_count_numbers(path) for path in weights)
    return shape_of(config, numbers)


def shape_of(config: Mapping[str, Any], parameters: int) -> ModelShape | None:
    """Sizes by a configuration, its text part's where it has one; None for architectures of other keys."""
    part = config.get("text_config")
    text = {**config, **part} if isinstance(part, dict) else dict(config)
    heads, hidden = text.get("num_attention_heads"), text.get("hidden_size")
    if not (isinstance(heads, int) and isinstance(hidden, int) and heads > 0):
        return None
    size = text.get("head_dim") or hidden // heads
    try:
        return ModelShape(
            parameters=parameters,
            layers=text.get("num_hidden_layers"),
            hidden_size=hidden,
            intermediate_size=_width(text),
            query_size=heads * size,
            key_size=(text.get("num_key_value_heads") or heads) * size,
            vocabulary=text.get("vocab_size"),
        )
    except (ValidationError, TypeError):
        return None


def _width(text: Mapping[str, Any]) -> Any:
    """Width of the feed-forward part that a token passes."""
    experts = next((text[key] for key in EXPERTS if text.get(key)), None)
    width = text.get("moe_intermediate_size") or text.get("intermediate_size")
    return width * experts if experts and width else width


def _count_numbers(path: Path) -> int:
    """Numbers in the tensors of a safetensors file."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(LENGTH_BYTES), "little")))
    return sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
