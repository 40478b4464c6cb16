"""What a tracker has to do, and what went wrong where it could not."""

from typing import Literal, Protocol

from safety_records.base import Record
from safety_records.tracking import MlflowTarget, Tracker, WandbTarget
from safety_worker.training.tracking.steps import Step

Ending = Literal["finished", "failed"]


class TrackerError(Exception):
    """A tracker cannot be used now; the words say why and what helps. They quote no server."""


class RunDescription(Record):
    """A training for a tracker: names, settings and digests, no texts of data."""

    tracker: Tracker
    run: str
    """Of the resource and its inputs: the same after each interruption."""
    name: str
    group: str
    """Experiment or project where none is named."""
    metrics: str
    """Path of ``metrics.jsonl``."""
    folder: str
    """tensorboard: path of the folder for its files."""
    shown_folder: str
    """The same relative to the artifact root."""
    settings: dict[str, str | int | float | bool]
    digests: dict[str, str]
    mlflow: MlflowTarget | None = None
    wandb: WandbTarget | None = None


class TrackerClient(Protocol):
    """A tracker with one run."""

    @property
    def run(self) -> str:
        """Id of the run there; empty until it is connected."""

    @property
    def url(self) -> str:
        """The run's page; empty until it is known."""

    def connect(self) -> None:
        """Find the run or begin it, and learn which steps it has.

        Raises
        ------
        TrackerError
            If that is not possible now.
        """

    def send(self, steps: list[Step]) -> None:
        """Add those steps that the run does not have.

        Raises
        ------
        TrackerError
            If it is not known to have worked; the tracker has to be connected again.
        """

    def finish(self, ending: Ending) -> None:
        """Say how the run ended.

        Raises
        ------
        TrackerError
            If that is not possible now.
        """
