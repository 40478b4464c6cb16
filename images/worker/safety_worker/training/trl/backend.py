"""The backend ``trl``: plan, train or continue, export.

Working files are in ``<out>.work``: ``checkpoints/``, ``metrics.jsonl``, ``resumes.json``. A stage that is
started again continues from the last complete checkpoint, whenever and however it was ended before. The
output folder gets the model, ``training.json`` (what was asked for and what was planned) and
``metrics.jsonl``; only the model's files count for its digest.
"""

import os
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from safety_records.finetune_stages import TrainStage
from safety_records.progress import Progress
from safety_records.result import EXIT_INTERRUPTED, StageResult
from safety_records.trl_arguments import ELSEWHERE, OWNED
from safety_worker.devices import computed_precision
from safety_worker.errors import InfrastructureError, InputError, WorkerError
from safety_worker.ray_launcher.cpus import usable_cpus
from safety_worker.training.checkpoints import CHECKPOINTS
from safety_worker.training.data import Rows
from safety_worker.training.planning import TrainPlan, plan_training
from safety_worker.training.ranks import (
    ProcessRank,
    find_node,
    find_rank,
    rendezvous_variables,
    threads_of_each,
)
from safety_worker.training.records import METRICS_NAME, MetricsFile
from safety_worker.training.tracking.following import following
from safety_worker.training.watchdog import Watchdog

if TYPE_CHECKING:  # they import torch, which must see the variables of use_processes
    from safety_worker.training.rendezvous import Peers
    from safety_worker.training.trl.callback import Watch
    from safety_worker.training.trl.resuming import Start
    from safety_worker.training.trl.trainer import Inputs

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
"""Their versions influence the result."""

UNUSED = ("sklearn",)
"""What transformers imports where it is installed, for something else: a second or more of each start.

None in its place is how Python knows what is not there."""

IN_FLOAT32 = "precision: float32 was computed, since the pod's processor has no bfloat16"


def run(spec: TrainStage, work_dir: Path, report_progress: Callable[[Progress], None]) -> StageResult | None:
    """Train as the specification asks; None in all processes but the first.

    Parameters
    ----------
    spec
        The stage; its paths are relative to ``work_dir``.
    work_dir
        Artifact root, a local folder (shared by all pods of the Job).
    report_progress
        Called after each step.

    Raises
    ------
    InputError
        If a person must act: see the modules ``planning``, ``data`` and ``callback``.
    InfrastructureError
        If trying again may help.
    SystemExit
        143, after SIGTERM.
    """
    started = time.monotonic()
    check_overrides(spec)
    precision = computed_precision(spec.precision, spec.device)
    computed = () if precision == spec.precision else (IN_FLOAT32,)
    spec = spec.model_copy(update={"precision": precision})
    place = find_rank(spec.nodes, os.environ)
    use_processes(place, spec)
    if not place.is_first:
        report_progress = _tell_nobody
    report_progress(progress(0, 0, "loading libraries and rows"))
    from safety_worker.training.trl.library_errors import told_errors  # noqa: PLC0415 - torch comes late
    from safety_worker.training.trl.product import export_result, summary  # noqa: PLC0415 - torch comes late
    from safety_worker.training.trl.resuming import decide_start  # noqa: PLC0415 - torch comes late
    from safety_worker.training.trl.trainer import load_inputs  # noqa: PLC0415 - torch comes late

    inputs = load_inputs(spec, work_dir)
    plan = plan_training(spec, len(inputs.train.rows), inputs.model_max_length, place.world_size)
    work = work_dir / f"{spec.out}.work"
    trackers = following(spec, work_dir, os.environ, first=place.is_first)
    with trackers as tracked, told_errors(place, work):

        def report(line: Progress) -> None:
            report_progress(line.model_copy(update={"tracking": tracked.runs()}))

        peers = find_peers(spec, place)
        start = decide_start(spec, work, plan, peers, validate=has_rows(inputs))
        waited: tuple[str, ...] = ()
        if not start.is_over(spec):
            waited = train(spec, work_dir, inputs, plan, report, peers=peers, start=start)
        tracked.end("finished")
        if place.is_first:
            report(progress(plan.steps, plan.steps, "exporting the model"))
            export_result(spec, work_dir)
        peers.finish()
        tracked.wait()
        runs = tracked.runs()
    if not place.is_first:
        return None
    unmeasured = warn_of_long_rows("validation", inputs.validation) if inputs.validation else ()
    found = (*inputs.warnings, *warn_of_long_rows("training", inputs.train), *unmeasured)
    return StageResult(
        stage="train",
        inputs_hash=spec.inputs_hash,
        train_rows=len(inputs.train.rows),
        validation_rows=len(inputs.validation.rows) if inputs.validation else None,
        training=summary(spec, work).model_copy(update={"tracking": runs}),
        warnings=(*computed, *found, *start.warnings, *waited),
        versions={name: metadata.version(name) for name in LIBRARIES},
        seconds=round(time.monotonic() - started, 3),
    )


def _tell_nobody(_progress: Progress) -> None:
    """Only the first process reports."""


def find_peers(spec: TrainStage, place: ProcessRank) -> "Peers":
    """All processes of this training, once they are there."""
    from safety_worker.training.rendezvous import Peers, join  # noqa: PLC0415 - torch comes late

    if place.world_size == 1:
        return Peers(place)
    node = find_node(spec.nodes, os.environ)
    store = join(place, node, on_gpu=spec.device == "gpu", step_seconds=spec.step_timeout_seconds)
    return Peers(place, store)


def train(
    spec: TrainStage,
    root: Path,
    inputs: "Inputs",
    plan: TrainPlan,
    report_progress: Callable[[Progress], None],
    *,
    peers: "Peers",
    start: "Start",
) -> tuple[str, ...]:
    """Train from where it starts to the last step; gives warnings.

    Raises
    ------
    SystemExit
        143, after SIGTERM.
    """
    from safety_worker.training.trl.callback import NothingLeft  # noqa: PLC0415 - torch comes late
    from safety_worker.training.trl.product import write_tokens  # noqa: PLC0415 - torch comes late
    from safety_worker.training.trl.trainer import (  # noqa: PLC0415 - torch comes late
        build_trainer,
        count_tokens,
        describe_model,
    )

    work = root / f"{spec.out}.work"
    message = f"continuing from step {start.step}" if start.last else "loading the model"
    report_progress(progress(start.step, plan.steps, message, start.resumes))
    watch = make_watch(spec, work, start, peers, steps=plan.steps, validate=has_rows(inputs))
    watch.report_progress = report_progress
    restore = watch.interruption.install()
    try:
        trainer = build_trainer(spec, inputs, plan, root, watch)
        tokens = count_tokens(trainer)
        if spec.packing:
            plan = plan_training(spec, tokens.rows, None, peers.number)
            trainer.args.max_steps = watch.total_steps = plan.steps
        if peers.place.is_first:
            write_tokens(work, tokens, plan)
        watch.trained_share = tokens.trained / tokens.tokens
        trainer.args.eval_on_start = start.unmeasured
        watch.flops_per_token, watch.peak_flops = describe_model(trainer, tokens)
        trainer.train(resume_from_checkpoint=str(start.last.path) if start.last else None)
    except NothingLeft:
        pass
    except Exception as error:
        # A library may make another error of the end that SIGTERM raised in it.
        if watch.interruption.ended and not isinstance(error, WorkerError):
            raise SystemExit(EXIT_INTERRUPTED) from error
        raise
    finally:
        restore()
        watch.watchdog.stop()
    _require_finished(spec, plan, watch)
    return watch.saving.warnings


def _require_finished(spec: TrainStage, plan: TrainPlan, watch: "Watch") -> None:
    """End the process if training was interrupted, after the last step too: its loss may not be measured."""
    if watch.interrupted:
        raise SystemExit(EXIT_INTERRUPTED)
    if watch.step >= plan.steps or watch.validated.stops_after(spec.early_stop_after):
        return
    raise InfrastructureError("TrainingIncomplete", f"training ended before step {plan.steps}")


def make_watch(
    spec: TrainStage, work: Path, start: "Start", peers: "Peers", *, steps: int, validate: bool
) -> "Watch":
    """What follows a training of so many ``steps``."""
    from safety_worker.training.trl.callback import Watch  # noqa: PLC0415 - torch comes late
    from safety_worker.training.trl.hanging import end_hung  # noqa: PLC0415 - torch comes late
    from safety_worker.training.trl.resuming import strategy_of  # noqa: PLC0415 - torch comes late
    from safety_worker.training.trl.saving import Saving  # noqa: PLC0415 - torch comes late
    from safety_worker.training.trl.stopping import Interruption  # noqa: PLC0415 - torch comes late

    def on_hang(seconds: float) -> None:
        end_hung(spec, work, peers.place, watch.step + 1, seconds)

    watch = Watch(
        checkpoints=work / CHECKPOINTS,
        every_steps=spec.checkpoint_steps,
        keep=spec.checkpoint_keep,
        total_steps=steps,
        validate=validate,
        keeps_best=spec.best == "validation-loss",
        early_stop_after=spec.early_stop_after,
        about={"strategy": strategy_of(spec, peers), "processes": peers.number},
        metrics=MetricsFile(work / METRICS_NAME, start.step, writable=peers.place.is_first),
        resumes=start.resumes,
        validated=start.validated,
        unmeasured=start.unmeasured,
        interruption=Interruption(spec.grace_seconds),
        watchdog=Watchdog(spec.step_timeout_seconds, on_hang),
        peers=peers,
        saving=Saving(peers),
        step=start.step,
    )
    return watch


def has_rows(inputs: "Inputs") -> bool:
    """Whether there is anything to validate with."""
    return inputs.validation is not None and bool(inputs.validation.rows)


def check_overrides(spec: TrainStage) -> None:
    """Refuse arguments that are not the user's to set."""
    owned = spec.overrides.keys() & (OWNED | ELSEWHERE.keys())
    if owned:
        raise InputError(
            "InvalidOverrides",
            f"overrides: {', '.join(sorted(owned))} cannot be set here: resuming depends on it, or another "
            "field decides it (schedule, checkpoint, output.push)",
        )


def progress(done: int, total: int, message: str, resumes: int | None = None) -> Progress:
    """Progress in optimiser steps, beside that of the steps themselves."""
    return Progress(stage="train", done=done, total=total, unit="steps", message=message, resumes=resumes)


def use_processes(place: ProcessRank, spec: TrainStage) -> None:
    """Tell torch about the other processes, before it is imported.

    Raises
    ------
    InputError
        If there is not a GPU for each process of this pod.
    """
    if "RANK" not in os.environ:
        os.environ.update(rendezvous_variables(place, find_node(spec.nodes, os.environ)))
    os.environ.setdefault("ACCELERATE_USE_CPU", "true" if spec.device == "cpu" else "false")
    # Threads that wait by spinning cost a shared machine a third of its time (docs/experiments.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if usable_cpus() < len(os.sched_getaffinity(0)):  # torch starts a thread for each core of the node
        os.environ.setdefault("OMP_NUM_THREADS", str(threads_of_each(spec.processes)))
    for name in UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    if spec.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    import torch  # noqa: PLC0415 - torch comes late

    found = torch.cuda.device_count()
    if found < spec.processes:
        raise InputError(
            "GpusMissing",
            f"compute: a training pod needs {spec.processes} GPUs and sees {found}: ask for them by "
            "gpusPerNode; where the node has them, the worker image may have no CUDA, or the "
            "driver may be too old",
        )
    if spec.processes == 1 and found > 1:  # the trainer would split batches over all of them
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",", maxsplit=1)[0]


def warn_of_long_rows(kind: str, rows: Rows) -> tuple[str, ...]:
    """That rows are left out, because their prompts fill the sequence, or that their ends are."""
    every = rows.too_long + len(rows.rows)
    counted = (
        (rows.too_long, "are left out: their prompts fill batch.maxSequenceLength"),
        (
            rows.cut,
            "are cut: they are longer than batch.maxSequenceLength, so no end of the answer is learnt",
        ),
    )
    return tuple(f"{count} of {every} {kind} rows {what}" for count, what in counted if count)
