"""Settings of training that a resource has and a stage passes to the trainer as they are."""

from typing import Annotated, Literal

from pydantic import Field

from safety_records.base import Record
from safety_records.schema import UNSET, config


class TrainMethod(Record):
    """What is trained."""

    model_config = config(
        (
            "self.type == 'lora' || !(has(self.rank) || has(self.alpha) || has(self.targetModules))",
            "rank, alpha and targetModules belong to type lora",
        )
    )
    type: Literal["full", "lora"] = "full"
    """full: all weights; lora: low-rank adapters, which are merged into the model at the end."""
    rank: int = Field(default=16, ge=1, le=1024, json_schema_extra=UNSET)
    """Type lora: rank of the adapters."""
    alpha: int = Field(default=32, ge=1, le=4096, json_schema_extra=UNSET)
    """Type lora: adapters count alpha / rank times."""
    target_modules: tuple[Annotated[str, Field(max_length=128)], ...] = Field(default=(), max_length=64)
    """Type lora: modules with adapters, by their last name; all linear layers where absent."""
