"""Settings of training that a resource has and a stage passes to the trainer as they are."""

from typing import Literal

from safety_records.base import Record


class TrainMethod(Record):
    """What is trained."""

    type: Literal["full", "lora"] = "full"
    rank: int = 16
    alpha: int = 32
    target_modules: tuple[str, ...] = ()
    """Empty: all linear layers."""
