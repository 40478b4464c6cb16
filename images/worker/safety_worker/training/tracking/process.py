"""The process of one tracker: follows the metrics and sends what is new, until it is told of the end.

Standard input: one line with a :class:`RunDescription`, later ``finished`` or ``failed``; its end means that
the trainer is gone. Standard output: a :class:`TrackedRun` a line, whenever it changes. Run as
``python -m safety_worker.training.tracking``.
"""

import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from safety_records.tracking import TrackedRun
from safety_worker.training.tracking.mlflow_rest import MlflowClient
from safety_worker.training.tracking.steps import Step, StepReader
from safety_worker.training.tracking.tensorboard_files import TensorBoardFiles
from safety_worker.training.tracking.tracker import Ending, RunDescription, TrackerClient, TrackerError
from safety_worker.training.tracking.weights_and_biases import WandbClient

POLL_SECONDS = 2.0
MAX_URL = 250
"""Longer ones are left out: a pod's last words have little room."""
BATCH = 100
"""Steps of a request."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 5.0, 300.0
"""Between tries while a tracker does not answer."""


class Sender:
    """Sends steps to a tracker, and tells how that goes."""

    def __init__(
        self,
        client: TrackerClient,
        reader: StepReader,
        tell: Callable[[str, str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._reader, self._tell, self._clock = client, reader, tell, clock
        self._connected = False
        self._held: list[Step] = []
        self._wait, self._again = FIRST_WAIT_SECONDS, float("-inf")

    def send(self, ending: Ending | None = None) -> None:
        """Send what is new; a tracker that failed is left alone for a while, but for the end."""
        if ending is None and self._clock() < self._again:
            return
        try:
            self._send(ending)
        except TrackerError as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - whatever a library raises, the next try may work
            self._failed(f"sending failed ({type(error).__name__})")
        else:
            self._wait = FIRST_WAIT_SECONDS
            self._tell(self._client.run, self._client.url, "")

    def _send(self, ending: Ending | None) -> None:
        if not self._connected:
            self._client.connect()
            self._connected = True
        while True:
            self._held = self._held or self._reader.take(BATCH, ended=ending is not None)
            if not self._held:
                break
            self._client.send(self._held)
            self._held = []
        if ending is not None:
            self._client.finish(ending)

    def _failed(self, problem: str) -> None:
        self._connected = False
        self._again = self._clock() + self._wait
        self._wait = min(2 * self._wait, LONGEST_WAIT_SECONDS)
        self._tell(self._client.run, self._client.url, problem)


def make_client(about: RunDescription, secrets: Mapping[str, str]) -> TrackerClient:
    """The client of a tracker."""
    if about.tracker == "mlflow":
        return MlflowClient(about, secrets)
    return WandbClient(about, secrets) if about.tracker == "wandb" else TensorBoardFiles(about)


def main() -> int:
    """Follow one training."""
    os.nice(19)
    tell_to = os.dup(1)
    os.dup2(2, 1)  # what libraries print belongs into the log
    orders = os.fdopen(0, "rb", buffering=0)  # what a buffer holds would not wake select
    about = RunDescription.model_validate_json(orders.readline())
    said = ""

    def tell(run: str, url: str, problem: str) -> None:
        nonlocal said
        page = url if len(url) <= MAX_URL else ""
        found = TrackedRun(tracker=about.tracker, run=run[:128], url=page, problem=problem[:200])
        line = found.to_json() + "\n"
        if line != said:
            said = line
            os.write(tell_to, line.encode())
            if problem:
                print(f"tracking.{about.tracker}: {problem}", file=sys.stderr, flush=True)  # noqa: T201 - the log

    sender = Sender(make_client(about, os.environ), StepReader(Path(about.metrics)), tell)
    while True:
        sender.send()
        if select.select([orders], [], [], POLL_SECONDS)[0]:
            ending = orders.readline().decode().strip()
            if ending:
                sender.send(cast("Ending", ending))
            return 0
