"""Follows a running NeMo-RL: its event files, its output and its checkpoints, for progress, NaN and hangs.

TensorBoard's writer may hold numbers back for two minutes, so steps are counted by NeMo-RL's own output, too.
"""

import math
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from safety_records.progress import Progress
from safety_worker.errors import InfrastructureError, InputError, WorkerError
from safety_worker.training.event_file import EventFile, Scalar
from safety_worker.training.records import HANGS_NAME, MAX_HANGS, MetricsFile, count_in_row

LOAD_SECONDS = 3600
"""Time for Ray's workers, the model and a checkpoint before the first step, beside the step's own."""

HELD_BACK_SECONDS = 130
"""TensorBoard's writer keeps numbers for so long."""

_STEP = re.compile(rb"={10,} Step \d+/\d+ ={10,}")
_LOSS = re.compile(rb"Loss: (\S+)")

NAMES: Mapping[str, str] = {
    "train/loss": "loss",
    "train/lr": "learning_rate",
    "train/grad_norm": "grad_norm",
    "train/train_fp_utilization": "mfu",
    "validation/val_loss": "validation_loss",
}
"""Numbers that are kept, by NeMo-RL's names."""

SHOWN = ("loss", "validation_loss", "learning_rate", "grad_norm", "tokens_per_second", "mfu")
"""Numbers of a progress line, as the metrics have them."""

TRAINED_TOKENS = "train/global_valid_toks"
STEP_SECONDS = "timing/train/policy_training"


class Course(NamedTuple):
    """What a training is known by before it begins."""

    first_step: int
    """Steps of the checkpoint from which it continues."""
    total_steps: int
    steps_per_epoch: int
    tokens_per_trained: float
    """Tokens of the rows for each token that is trained on."""
    trained_share: float | None
    resumes: int
    step_timeout_seconds: int | None


class Follower:
    """Looks at what NeMo-RL has written since the last look.

    Parameters
    ----------
    course
        The training.
    logs, output, checkpoints
        Folder of its event files, file of its output, folder of its checkpoints.
    metrics
        Gets a line for each step.
    report_progress
        Told of each step.
    clock
        Seconds, for tests.
    """

    def __init__(
        self,
        course: Course,
        *,
        logs: Path,
        output: Path,
        checkpoints: Path,
        metrics: MetricsFile,
        report_progress: Callable[[Progress], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._course = course
        self._logs, self._output, self._checkpoints = logs, output, checkpoints
        self._metrics, self._report, self._clock = metrics, report_progress, clock
        self._hangs = checkpoints.with_name(HANGS_NAME)
        self._files: dict[Path, EventFile] = {}
        self._started = 0
        self._read = 0
        self._held: dict[int, dict[str, float]] = {}
        self._recall()
        self._state = self._progress()
        self._moved = clock()

    def _recall(self) -> None:
        """Take from earlier starts what a kill kept from being written down, up to where this one begins."""
        known = {line["step"] for line in self._metrics.lines}
        for scalar in self._new_scalars():
            if scalar.step <= self._course.first_step and scalar.step not in known:
                self._hold(scalar)

    def look(self) -> None:
        """Report what is new.

        Raises
        ------
        InputError
            If a loss or the gradient's norm is no number.
        WorkerError
            If a step takes longer than it may: the same step again and again is a person's to look at.
        """
        text = self._new_output()
        for scalar in self._new_scalars():
            self._hold(scalar)
        self._started += len(_STEP.findall(text))
        for found in _LOSS.findall(text):
            if found.lower() in {b"nan", b"inf", b"-inf"}:
                raise _not_finite("loss", found.decode(), self.step)
        self._write_metrics()
        self._report_step()
        self._check_hang()

    @property
    def began(self) -> bool:
        """Whether it has come to a step."""
        return self._started > 0

    @property
    def step(self) -> int:
        """Steps that are done."""
        known = self._metrics.lines[-1]["step"] if self._metrics.lines else 0
        return max(known, self._course.first_step + max(0, self._started - 1))

    def _event_files(self) -> list[Path]:
        return sorted(self._logs.glob("exp_*/tensorboard/**/events.*")) if self._logs.is_dir() else []

    def _new_scalars(self) -> list[Scalar]:
        for path in self._event_files():
            self._files.setdefault(path, EventFile(path))
        return [scalar for file in self._files.values() for scalar in file.new_scalars()]

    def _new_output(self) -> bytes:
        """Whole lines since the last look."""
        if not self._output.is_file():
            return b""
        with self._output.open("rb") as stream:
            stream.seek(self._read)
            text = stream.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole

    def _hold(self, scalar: Scalar) -> None:
        """Keep a number until its step is complete; several files may have it."""
        name = NAMES.get(scalar.tag)
        if name in {"loss", "grad_norm", "validation_loss"} and not math.isfinite(scalar.value):
            raise _not_finite(name.replace("_", " "), str(scalar.value), scalar.step)
        if name or scalar.tag in {TRAINED_TOKENS, STEP_SECONDS}:
            self._held.setdefault(scalar.step, {})[name or scalar.tag] = scalar.value

    def _write_metrics(self) -> None:
        """A line for each step whose numbers are there: those of timing are logged last."""
        for step in sorted(self._held):
            numbers = self._held[step]
            if STEP_SECONDS not in numbers:
                continue
            del self._held[step]
            seconds, trained = numbers.pop(STEP_SECONDS), numbers.pop(TRAINED_TOKENS, None)
            speed = trained * self._course.tokens_per_trained / seconds if trained and seconds > 0 else None
            self._metrics.append(
                step=step,
                epoch=round(step / self._course.steps_per_epoch, 6),
                **{name: _rounded(name, value) for name, value in numbers.items()},
                tokens_per_second=round(speed, 6) if speed else None,
            )

    def _report_step(self) -> None:
        course, step = self._course, self.step
        message = "training" if self._started else "starting Ray's workers and loading the model"
        self._report(
            Progress(
                stage="train",
                done=min(step, course.total_steps),
                total=course.total_steps,
                unit="steps",
                message=message,
                epoch=round(step / course.steps_per_epoch, 6),
                **{name: self._metrics.last(name) for name in SHOWN},
                trained_share=course.trained_share,
                resumes=course.resumes,
            )
        )

    def _check_hang(self) -> None:
        limit = self._course.step_timeout_seconds
        state = self._progress()
        if state != self._state:
            self._state, self._moved = state, self._clock()
        if limit is None:
            return
        patience = limit + (HELD_BACK_SECONDS if self._started else LOAD_SECONDS)
        if self._clock() - self._moved > patience:
            times = count_in_row(self._hangs, self.step)
            raise _hung(self.step, patience, limit, times)

    def _progress(self) -> tuple[object, ...]:
        """What changes while a training moves."""
        return (self._started, len(self._metrics.lines), tuple(self._held), self._saving())

    def _saving(self) -> tuple[tuple[str, int], ...]:
        """Names and numbers of files of what is being saved: it grows while that goes on."""
        folders = self._checkpoints.glob("tmp_step_*") if self._checkpoints.is_dir() else ()
        return tuple((folder.name, sum(1 for _ in folder.rglob("*"))) for folder in sorted(folders))


def _hung(step: int, patience: int, limit: int, times: int) -> WorkerError:
    told = (
        f"no step, validation or checkpoint was finished for {patience} s after step {step} "
        f"(stepTimeoutSeconds {limit})"
    )
    if times < MAX_HANGS:
        return InfrastructureError("StepHung", f"{told}: training starts again from its last checkpoint")
    return InputError(
        "StepHangs",
        f"{told}, {times} times in a row: raise stepTimeoutSeconds if steps take that long; else look at the "
        "GPUs and the network between pods",
    )


def _rounded(name: str, value: float) -> float:
    """Without the digits that a float32 does not have."""
    return float(f"{value:.7g}") if name == "learning_rate" else round(value, 6)


def _not_finite(what: str, value: str, step: int) -> InputError:
    return InputError(
        "LossNotFinite",
        f"the {what} is {value} at step {step}: lower schedule.learningRate or raise schedule.warmupSteps",
    )
