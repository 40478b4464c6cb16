"""``finetune.json``: what a model was trained from, how, and what came out. Page and card are made from it.

Written by the worker when a trained model is complete; the published schema in docs/reference is generated
from these models. Texts such as names and warnings are hostile: a reader escapes them.
"""

from typing import Literal

from pydantic import Field, JsonValue

from safety_records.base import Published
from safety_records.result import Pushed, Training

VERSION: Literal[1] = 1
"""Version of the schema; raised when a field changes its meaning or goes away. New fields keep it."""


class TrainedFrom(Published):
    """Something that training read."""

    name: str = ""
    """URI, or the resource that it is the product of; empty: not known."""
    digest: str = ""
    """sha256: and 64 hexadecimal digits; empty: not known."""


class FinetuneReport(Published):
    """A finished training."""

    version: Literal[1] = VERSION
    namespace: str
    name: str
    backend: str
    base: TrainedFrom
    """The model that training started from."""
    data: TrainedFrom
    train_rows: int | None = Field(default=None, ge=0)
    validation_rows: int | None = Field(default=None, ge=0)
    digest: str
    """Of the trained model's files: what a gate compares."""
    bytes: int = Field(ge=0)
    """Of the trained model's files."""
    settings: dict[str, JsonValue] = {}
    """What the trainer was asked for, under the names of the stage's specification."""
    training: Training
    """Where training ended."""
    pushed: Pushed | None = None
    """Where the model was copied to; None: nowhere, or it is a report of before."""
    warnings: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    """Of libraries that influence the result."""
    seconds: float | None = Field(default=None, ge=0)
    """Wall time of the stage, of its last try where not all are known."""
