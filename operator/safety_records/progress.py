"""Progress: one JSON line on standard output every few seconds while a stage runs."""

from typing import Literal

from pydantic import Field

from safety_records.training import TrainingNumbers


class Progress(TrainingNumbers):
    """One progress line. The operator reads the last one of a running pod.

    Numbers of training are there while it trains.
    """

    event: Literal["progress"] = "progress"
    stage: str = Field(max_length=40)
    """The stage's name, as in its specification."""
    done: int = Field(ge=0)
    """Units finished, including those that an earlier try finished."""
    total: int = Field(ge=0)
    """Units in all; 0 while unknown."""
    unit: str = Field(default="rows", max_length=20)
    """What is counted: rows, probes, steps, bytes."""
    message: str = Field(default="", max_length=200)
    """What is being done or waited for, for people. Never model or data-set text."""
