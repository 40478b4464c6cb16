"""The trainer's callback: progress, metrics, complete checkpoints, and an orderly end at SIGTERM."""

# ruff: noqa: ARG002 - the library decides what a callback is given

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from safety_records.progress import Progress
from safety_worker.errors import InputError
from safety_worker.training.checkpoints import mark_complete, prune
from safety_worker.training.records import MetricsFile

QUICK_SAVE_SECONDS = 15.0
"""A checkpoint that takes longer is not begun at SIGTERM: a pod is killed 30 s after it."""


@dataclass
class Interruption:
    """Remembers SIGTERM until the step in progress is done.

    Outside of training (``in_training`` false), and among several processes, where one that stops would leave
    the others waiting, it ends the process at once with the shell's exit code 143.
    """

    patient: bool
    """Whether a step in progress may be finished."""
    in_training: bool = False
    requested: bool = False

    def install(self) -> Callable[[], None]:
        """Take over SIGTERM; gives the function that hands it back."""
        previous = signal.signal(signal.SIGTERM, self._handle)

        def restore() -> None:
            signal.signal(signal.SIGTERM, previous)

        return restore

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if not (self.patient and self.in_training):
            raise SystemExit(128 + signal.SIGTERM)


@dataclass
class Watch(TrainerCallback):
    """Follows one training."""

    checkpoints: Path
    keep: int
    total_steps: int
    validate: bool
    metrics: MetricsFile
    resumes: int
    report_progress: Callable[[Progress], None]
    interruption: Interruption
    _step_started: float = field(default=0.0, init=False)
    _save_started: float = field(default=0.0, init=False)
    _save_seconds: float = field(default=0.0, init=False)
    _tokens: float = field(default=0.0, init=False)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the count of tokens from the checkpoint, if there is one."""
        self.interruption.in_training = True
        self._tokens = state.num_input_tokens_seen

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._step_started = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Save and validate at the end; stop if SIGTERM has come."""
        self._save_started = time.monotonic()
        if state.global_step >= self.total_steps:
            control.should_save = True
            control.should_evaluate = self.validate
        if self.interruption.requested:
            control.should_save = self._save_seconds <= QUICK_SAVE_SECONDS
            control.should_evaluate = False
            control.should_training_stop = True
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record a step's loss.

        Raises
        ------
        InputError
            If the loss or the gradient's norm is no number: training has diverged.
        """
        values = logs or {}
        loss, norm = values.get("loss"), values.get("grad_norm")
        if loss is None or not state.is_world_process_zero:
            return
        _require_finite("loss", loss, state)
        _require_finite("norm of the gradient", norm, state)
        elapsed = time.monotonic() - self._step_started
        tokens = state.num_input_tokens_seen - self._tokens
        self._tokens = state.num_input_tokens_seen
        self.metrics.append(
            step=state.global_step,
            epoch=_rounded(state.epoch),
            loss=_rounded(loss),
            learning_rate=values.get("learning_rate"),
            grad_norm=_rounded(norm),
            tokens_per_second=_rounded(tokens / elapsed) if elapsed > 0 and tokens > 0 else None,
        )
        self._report(state, "training")

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record the validation loss.

        Raises
        ------
        InputError
            If it is no number: the last step has spoilt the weights.
        """
        self._save_started = time.monotonic()
        if state.is_world_process_zero:
            loss = (metrics or {}).get("eval_loss")
            _require_finite("validation loss", loss, state)
            self.metrics.append(step=state.global_step, validation_loss=_rounded(loss))
            self._report(state, "validated")

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Mark the checkpoint complete once every process has written its part."""
        if dist.is_initialized():
            dist.barrier()
        if state.is_world_process_zero:
            mark_complete(self.checkpoints / f"checkpoint-{state.global_step}")
            prune(self.checkpoints, self.keep)
            self._save_seconds = time.monotonic() - self._save_started
            self._report(state, "checkpoint written")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From here on SIGTERM ends the process at once."""
        self.interruption.in_training = False

    def _report(self, state: TrainerState, message: str) -> None:
        self.report_progress(
            Progress(
                stage="train",
                done=state.global_step,
                total=self.total_steps,
                unit="steps",
                message=message,
                epoch=_rounded(state.epoch),
                loss=self.metrics.last("loss"),
                validation_loss=self.metrics.last("validation_loss"),
                tokens_per_second=self.metrics.last("tokens_per_second"),
                resumes=self.resumes,
            )
        )


def _require_finite(what: str, value: float | None, state: TrainerState) -> None:
    if value is not None and not math.isfinite(value):
        raise InputError(
            "LossNotFinite",
            f"the {what} is {value} at step {state.global_step}: lower schedule.learningRate "
            "or raise schedule.warmupSteps",
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)
