"""Weights & Biases by its own client: its protocol is not published.

The client keeps what it could not send in a folder and tries again by itself; steps that a kill took with it
are sent again by the next start, which learns from the server which one is missing.
"""

import os
import tempfile
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from safety_worker.training.tracking.steps import Step
from safety_worker.training.tracking.tracker import Ending, RunDescription, TrackerError

INIT_SECONDS = 60
"""How long the server may take to begin a run."""
PUBLIC = "https://api.wandb.ai"


class WandbClient:
    """One run of a project; see :class:`TrackerClient`."""

    def __init__(self, about: RunDescription, secrets: Mapping[str, str]) -> None:
        assert about.wandb is not None
        self.run = self.url = ""
        self._about, self._target = about, about.wandb
        self._key = secrets.get(about.wandb.api_key_env, "")
        self._run: Any = None
        self._next = 0

    def connect(self) -> None:
        """Begin the run or resume it, and learn its next step."""
        wandb = _library()
        if not self._key:
            raise TrackerError("there is no API key: check the Secret in tracking.wandb.apiKeySecretRef")
        os.environ |= {"WANDB_API_KEY": self._key, "WANDB_BASE_URL": self._target.base_url or PUBLIC}
        if self._run is not None:
            wandb.teardown()
        try:
            self._run = wandb.init(
                project=self._target.project or self._about.group,
                entity=self._target.entity or None,
                id=self._about.run,
                name=self._about.name,
                resume="allow",
                config=self._about.settings | self._about.digests,
                dir=tempfile.mkdtemp(prefix="wandb-"),
                settings=wandb.Settings(
                    console="off",
                    disable_code=True,
                    disable_git=True,
                    disable_job_creation=True,
                    init_timeout=INIT_SECONDS,
                    save_code=False,
                    silent=True,
                    x_disable_machine_info=True,
                    x_disable_meta=True,
                    x_disable_stats=True,
                ),
            )
        except Exception as error:
            raise _refused(error) from error
        self._next = int(self._run.starting_step)
        self.run, self.url = self._about.run, str(self._run.url or "")

    def send(self, steps: list[Step]) -> None:
        """Hand steps to the client, without those that the run has."""
        for step in steps:
            if step.number >= self._next:
                self._run.log(step.values, step=step.number)
                self._next = step.number + 1

    def finish(self, ending: Ending) -> None:
        """Wait until the client has sent all."""
        try:
            self._run.finish(exit_code=0 if ending == "finished" else 1)
        except Exception as error:
            raise _refused(error) from error


def _library() -> Any:
    try:
        return import_module("wandb")  # it takes a second, and images of others may lack it
    except ImportError as error:
        raise TrackerError("the image has no package wandb: use one that has it, or mlflow") from error


def _refused(error: Exception) -> TrackerError:
    """By the kind of the client's error; its words may quote what the server said."""
    kind = type(error).__name__
    if kind in {"AuthenticationError", "UsageError"}:
        return TrackerError(f"the server refuses the API key or the project ({kind}): check tracking.wandb")
    return TrackerError(
        f"the server cannot be reached, or refuses ({kind}): check tracking.wandb and the network"
    )
