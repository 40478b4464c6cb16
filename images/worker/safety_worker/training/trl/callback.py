"""The trainer's callback: progress, metrics, complete checkpoints, and an orderly end at SIGTERM."""

# ruff: noqa: ARG002 - the library decides what a callback is given

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from safety_records.progress import Progress
from safety_worker.errors import InputError
from safety_worker.training.checkpoints import file_names, mark_complete, prune, seal_files
from safety_worker.training.records import MetricsFile, Validated
from safety_worker.training.rendezvous import Peers
from safety_worker.training.throughput import find_mfu
from safety_worker.training.trl.saving import Saving
from safety_worker.training.trl.sharded import own_files
from safety_worker.training.trl.stopping import Interruption, Stop, end_now, least_left
from safety_worker.training.watchdog import Watchdog


class NothingLeft(Exception):  # noqa: N818 - no error
    """All steps were made before this process began."""


@dataclass
class Watch(TrainerCallback):
    """Follows one training."""

    checkpoints: Path
    every_steps: int
    """Steps between checkpoints."""
    keep: int
    total_steps: int
    validate: bool
    keeps_best: bool
    early_stop_after: int | None
    about: dict[str, Any]
    """What a checkpoint's marker says of the processes that wrote it."""
    metrics: MetricsFile
    resumes: int
    validated: Validated
    unmeasured: bool
    """Whether training begins with a measurement of the validation loss that SIGTERM has prevented."""
    interruption: Interruption
    watchdog: Watchdog
    peers: Peers
    saving: Saving
    report_progress: Callable[[Progress], None] = field(default=lambda _progress: None)
    flops_per_token: float = 0.0
    """Arithmetic of a token; known once the model is loaded."""
    peak_flops: float | None = None
    """Of a GPU, a second; None where it is not known."""
    trained_share: float | None = None
    """Of the tokens of the rows, those that count for the loss."""
    step: int = 0
    """Steps that are made."""
    interrupted: bool = field(default=False, init=False)
    """Whether all processes stopped because SIGTERM came to one of them."""
    _step_started: float = field(default=0.0, init=False)
    _save_started: float = field(default=0.0, init=False)
    _tokens: float = field(default=0.0, init=False)
    _memory: int = field(default=0, init=False)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the count of tokens from the checkpoint, if there is one."""
        self.interruption.in_training = True
        self._tokens = state.num_input_tokens_seen
        self.step = state.global_step
        self.watchdog.start()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._step_started = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Save and validate at the end; stop if SIGTERM has come to any process."""
        self.step = state.global_step
        self.watchdog.renew()
        if self.saving.check():
            self._report(state, "checkpoint written")
        is_last = state.global_step >= self.total_steps
        self.saving.waits = is_last
        control.should_save = is_last or state.global_step % self.every_steps == 0
        if is_last:
            control.should_evaluate = self.validate
        stop, memory = self.peers.largest((self.interruption.wish(), _memory_bytes()))
        self._memory = max(self._memory, int(memory))
        if stop > Stop.GO_ON:
            control.should_save = self._stop() == Stop.SAVE
            control.should_evaluate = False
            control.should_training_stop = True
        if control.should_save:
            self.watchdog.allow_saving()
        self._save_started = time.monotonic()
        return control

    def _stop(self) -> float:
        """Wait for the checkpoint that is being written; then see whether there is time for another."""
        self.interrupted = self.saving.waits = True
        self.watchdog.allow_saving()
        left = least_left(self.interruption.seconds_left(), self.peers.largest)
        if not self.saving.finish(left):
            end_now()
        (stop,) = self.peers.largest((self.interruption.wish(),))
        return stop

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A batch of the validation rows is something done."""
        self.watchdog.renew()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record a step's numbers, which are those of all processes.

        Raises
        ------
        InputError
            If the loss or the gradient's norm is no number: training has diverged.
        """
        values = logs or {}
        loss, norm = values.get("loss"), values.get("grad_norm")
        if loss is None:
            return
        _require_finite("loss", loss, state)
        _require_finite("norm of the gradient", norm, state)
        elapsed = time.monotonic() - self._step_started
        tokens = state.num_input_tokens_seen - self._tokens
        self._tokens = state.num_input_tokens_seen
        speed = tokens / elapsed if elapsed > 0 and tokens > 0 else None
        self.metrics.append(
            step=state.global_step,
            epoch=_rounded(state.epoch),
            loss=_rounded(loss),
            learning_rate=values.get("learning_rate"),
            grad_norm=_rounded(norm),
            tokens_per_second=_rounded(speed),
            memory_bytes=self._memory or None,
            mfu=_rounded(self._utilization(speed)),
        )
        self._report(state, "training")

    def _utilization(self, speed: float | None) -> float | None:
        if speed is None:
            return None
        return find_mfu(speed, self.flops_per_token, self.peak_flops, self.peers.number)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> TrainerControl:
        """Record the validation loss; keep the step if it is the best one, stop if none was for long.

        Raises
        ------
        InputError
            If it is no number: the last step has spoilt the weights.
        """
        self.watchdog.renew()
        self._save_started = time.monotonic()
        loss = (metrics or {}).get("eval_loss")
        _require_finite("validation loss", loss, state)
        rounded = _rounded(loss)
        assert rounded is not None
        self.metrics.append(step=state.global_step, validation_loss=rounded)
        self.validated = self.validated.with_loss(state.global_step, rounded)
        if self.unmeasured:
            return self._go_on(state, control)
        if self.keeps_best and self.validated.best_step == state.global_step:
            control.should_save = True
        if self.validated.stops_after(self.early_stop_after):
            control.should_save = control.should_training_stop = True
        if control.should_save:
            self.watchdog.allow_saving()
        self._report(state, "validated")
        return control

    def _go_on(self, state: TrainerState, control: TrainerControl) -> TrainerControl:
        """After the measurement before the first step, whose checkpoint is there.

        Raises
        ------
        NothingLeft
            If no step is left.
        """
        self.unmeasured = False
        self._report(state, "validated")
        if self.step >= self.total_steps or self.validated.stops_after(self.early_stop_after):
            raise NothingLeft
        return control

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Mark the checkpoint complete once every process has written its part."""
        folder = self.checkpoints / f"checkpoint-{state.global_step}"
        best = self.validated.best_step if self.keeps_best else None
        self.saving.end(partial(self._complete, folder, best, self._save_started))
        self.watchdog.renew()
        if not self.saving.behind:
            self._report(state, "checkpoint written")

    def _complete(self, folder: Path, best: int | None, started: float, peers: Peers) -> None:
        """``started``: when training stood still for it; ``peers``: they tell each other what they wrote."""
        mine = own_files(file_names(folder), peers.place.rank)
        sealed = peers.of_all(seal_files(folder, mine))
        if peers.place.is_first:
            files = {name: seal for part in sealed for name, seal in part.items()}
            mark_complete(folder, files, self.about)
            prune(self.checkpoints, self.keep, best)
        self.interruption.save_seconds = time.monotonic() - started

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Nothing is written any more; from here on SIGTERM ends the process at once."""
        self.watchdog.allow_saving()
        self.saving.finish()
        self.interruption.in_training = False
        self.watchdog.stop()

    def _report(self, state: TrainerState, message: str) -> None:
        if not self.peers.place.is_first:
            return
        last = self.metrics.last
        memory = last("memory_bytes")
        self.report_progress(
            Progress(
                stage="train",
                done=state.global_step,
                total=self.total_steps,
                unit="steps",
                message=message,
                epoch=_rounded(state.epoch),
                loss=last("loss"),
                validation_loss=last("validation_loss"),
                tokens_per_second=last("tokens_per_second"),
                learning_rate=last("learning_rate"),
                grad_norm=last("grad_norm"),
                trained_share=self.trained_share,
                memory_bytes=None if memory is None else int(memory),
                mfu=last("mfu"),
                resumes=self.resumes,
            )
        )


def _memory_bytes() -> int:
    """Most memory of its GPU that this process has held; 0 without one."""
    return int(torch.cuda.max_memory_reserved()) if torch.cuda.is_available() else 0


def _require_finite(what: str, value: float | None, state: TrainerState) -> None:
    if value is not None and not math.isfinite(value):
        raise InputError(
            "LossNotFinite",
            f"the {what} is {value} at step {state.global_step}: lower schedule.learningRate "
            "or raise schedule.warmupSteps",
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)
