"""The trainer's side: starts the trackers' processes, hears from them, and ends them in bounded time."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safety_records.finetune_stages import TrainStage
from safety_records.tracking import TrackedRun, Tracker, TrackingTargets
from safety_worker.errors import InputError
from safety_worker.training.tracking.describing import describe
from safety_worker.training.tracking.tracker import Ending, RunDescription

LAST_SECONDS = 20.0
"""How long all trackers together may take for what is left when a training is over."""
FAILED_SECONDS = 5.0
"""The same where a training failed for good."""
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)
COMMAND = (sys.executable, "-m", "safety_worker.training.tracking")


class Following:
    """The trackers of one training; none where none is asked for."""

    def __init__(self) -> None:
        self._processes: dict[Tracker, subprocess.Popen[bytes]] = {}
        self._runs: dict[Tracker, TrackedRun] = {}
        self._unread: dict[Tracker, bytes] = {}

    def start(self, about: RunDescription, environment: Mapping[str, str]) -> None:
        """Start a tracker's process; one that cannot be started has a problem, and that is all."""
        self._runs[about.tracker] = TrackedRun(tracker=about.tracker)
        self._unread[about.tracker] = b""
        try:
            process = subprocess.Popen(
                COMMAND,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            self._has(about.tracker, f"its process could not be started ({error.strerror})")
            return
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._processes[about.tracker] = process
        self._order(process, about.to_json())

    def runs(self) -> tuple[TrackedRun, ...]:
        """What the trackers said last. Waits for nothing."""
        for tracker, process in self._processes.items():
            self._hear(tracker, process)
        return tuple(self._runs.values())

    def end(self, ending: Ending) -> None:
        """Tell all that the training is over. Waits for nothing."""
        for process in self._processes.values():
            self._order(process, ending)

    def wait(self, seconds: float = LAST_SECONDS) -> None:
        """Wait for those that were told of the end; what is not sent in time becomes a problem of theirs."""
        deadline = time.monotonic() + seconds
        for tracker, process in self._processes.items():
            try:
                code = process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                code = None
            self._hear(tracker, process)
            if code != 0 and not self._runs[tracker].problem:
                how = (
                    f"not all was sent within {seconds:.0f} s" if code is None else "its process ended early"
                )
                self._has(
                    tracker, f"{how} after the end of the training: look at the tracker and the pod's log"
                )

    def stop(self) -> None:
        """End the processes at once."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                with contextlib.suppress(OSError):
                    stream.close()
        self._processes.clear()

    def _order(self, process: subprocess.Popen[bytes], line: str) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # it is gone
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()

    def _hear(self, tracker: Tracker, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            self._unread[tracker] += process.stdout.read() or b""
        *lines, self._unread[tracker] = self._unread[tracker].split(b"\n")
        if lines:
            self._runs[tracker] = TrackedRun.model_validate_json(lines[-1])

    def _has(self, tracker: Tracker, problem: str) -> None:
        self._runs[tracker] = self._runs[tracker].model_copy(update={"problem": problem[:200]})
        print(f"tracking.{tracker}: {problem}", file=sys.stderr, flush=True)  # noqa: T201 - the log


@contextmanager
def following(
    spec: TrainStage, root: Path, environment: Mapping[str, str], *, first: bool = True
) -> Iterator[Following]:
    """The trackers of a training while it lasts; none in other processes than the ``first``.

    A run whose training is interrupted stays open: the next start continues it.
    """
    found = Following()
    try:
        if first and spec.tracking is not None:
            for tracker in spec.tracking.names:
                found.start(
                    describe(spec, root, tracker), tracker_environment(spec.tracking, tracker, environment)
                )
        yield found
    except InputError:
        found.end("failed")
        found.wait(FAILED_SECONDS)
        raise
    finally:
        found.stop()


def tracker_environment(
    targets: TrackingTargets, tracker: Tracker, environment: Mapping[str, str]
) -> dict[str, str]:
    """The variables of a tracker's process: no secret but its own."""
    own: set[str] = set()
    if tracker == "mlflow" and targets.mlflow is not None:
        own = {targets.mlflow.token_env, targets.mlflow.password_env}
    if tracker == "wandb" and targets.wandb is not None:
        own = {targets.wandb.api_key_env}
    kept = {name: value for name, value in environment.items() if not SECRET.search(name)}
    secrets = {name: environment[name].strip() for name in own if name and name in environment}
    return kept | secrets | {"CUDA_VISIBLE_DEVICES": ""}
