"""The backend ``trl``: plan, train or continue, export.

Working files are in ``<out>.work``: ``checkpoints/``, ``metrics.jsonl``, ``resumes.json``. A stage that is
started again continues from the last complete checkpoint, whenever and however it was ended before. The
output folder gets the model, ``training.json`` (what was asked for and what was planned) and
``metrics.jsonl``; only the model's files count for its digest.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from statistics import median_high
from typing import TYPE_CHECKING

from safety_records.progress import Progress
from safety_records.result import StageResult, Training
from safety_records.stages import TrainStage
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.training.checkpoints import Checkpoint, latest_complete, remove_incomplete
from safety_worker.training.data import Rows
from safety_worker.training.planning import TrainPlan, plan_training
from safety_worker.training.ranks import ProcessRank, find_rank, rendezvous_variables
from safety_worker.training.records import (
    METRICS_NAME,
    MetricsFile,
    count_resume,
    last_value,
    read_metrics,
    read_resumes,
)

if TYPE_CHECKING:  # it imports torch, which must see the variables of use_processes
    from safety_worker.training.trl.trainer import Inputs

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
"""Their versions influence the result."""

OWNED_ARGUMENTS = frozenset(
    {
        "max_steps",
        "output_dir",
        "save_only_model",
        "save_strategy",
        "save_total_limit",
        "resume_from_checkpoint",
    }
)
"""Arguments of the trainer without which a training would neither resume nor be known to be finished."""

EXIT_TERMINATED = 143
"""Exit code after SIGTERM: the Job starts another pod."""


def run(spec: TrainStage, work_dir: Path, report_progress: Callable[[Progress], None]) -> StageResult:
    """Train as the specification asks.

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
    place = find_rank(spec.nodes, os.environ)
    use_processes(place, spec)
    report_progress(progress(0, 0, "loading libraries and rows"))
    from safety_worker.training.trl.trainer import load_inputs  # noqa: PLC0415 - torch comes late

    inputs = load_inputs(spec, work_dir)
    plan = plan_training(spec, len(inputs.train.rows), inputs.model_max_length, place.world_size)
    work = work_dir / f"{spec.out}.work"
    last = latest_complete(work / "checkpoints")
    if last is None or last.step < plan.steps:
        last = train(spec, work_dir, inputs, plan, report_progress, is_first=place.rank == 0, last=last)
    if place.rank == 0:
        export_result(spec, work_dir, plan, last, report_progress)
    wait_for_all(place)
    lines = read_metrics(work / METRICS_NAME)
    unmeasured = warn_of_long_rows("validation", inputs.validation) if inputs.validation else ()
    return StageResult(
        stage="train",
        inputs_hash=spec.inputs_hash,
        train_rows=len(inputs.train.rows),
        validation_rows=len(inputs.validation.rows) if inputs.validation else None,
        training=summary(lines, plan, read_resumes(work)),
        warnings=(*inputs.warnings, *warn_of_long_rows("training", inputs.train), *unmeasured),
        versions={name: metadata.version(name) for name in LIBRARIES},
        seconds=round(time.monotonic() - started, 3),
    )


def train(
    spec: TrainStage,
    root: Path,
    inputs: "Inputs",
    plan: TrainPlan,
    report_progress: Callable[[Progress], None],
    *,
    is_first: bool,
    last: Checkpoint | None,
) -> Checkpoint:
    """Train from the last complete checkpoint, or from the start, to the last step.

    Only the first process writes what does not belong to the trainer.
    """
    from safety_worker.training.trl.callback import Interruption, Watch  # noqa: PLC0415 - torch comes late
    from safety_worker.training.trl.trainer import build_trainer  # noqa: PLC0415 - torch comes late

    work = root / f"{spec.out}.work"
    checkpoints = work / "checkpoints"
    if is_first:
        checkpoints.mkdir(parents=True, exist_ok=True)
        remove_incomplete(checkpoints)
    resumes = count_resume(work) if last and is_first else read_resumes(work)
    step = last.step if last else 0
    message = f"continuing from step {step}" if last else "loading the model"
    report_progress(progress(step, plan.steps, message, resumes))
    interruption = Interruption(patient=plan.world_size == 1)
    watch = Watch(
        checkpoints=checkpoints,
        keep=spec.checkpoint_keep,
        total_steps=plan.steps,
        validate=inputs.validation is not None and bool(inputs.validation.rows),
        metrics=MetricsFile(work / METRICS_NAME, step, writable=is_first),
        resumes=resumes,
        report_progress=report_progress,
        interruption=interruption,
    )
    restore = interruption.install()
    try:
        trainer = build_trainer(spec, inputs, plan, root, watch)
        trainer.train(resume_from_checkpoint=str(last.path) if last else None)
    finally:
        restore()
    if interruption.requested:
        raise SystemExit(EXIT_TERMINATED)
    final = latest_complete(checkpoints)
    if final is None or final.step < plan.steps:
        raise InfrastructureError("TrainingIncomplete", f"training ended before step {plan.steps}")
    return final


def export_result(
    spec: TrainStage,
    root: Path,
    plan: TrainPlan,
    last: Checkpoint,
    report_progress: Callable[[Progress], None],
) -> None:
    """Export the model and record how it was made."""
    from safety_worker.training.trl.export import export_model  # noqa: PLC0415 - torch comes late

    report_progress(progress(plan.steps, plan.steps, "exporting the model"))
    work, out = root / f"{spec.out}.work", root / spec.out
    export_model(spec, last, root, work / "export")
    shutil.copyfile(work / METRICS_NAME, out / METRICS_NAME)
    record = {"spec": spec.model_dump(mode="json", by_alias=True), "plan": asdict(plan)}
    atomic_write_text(out / "training.json", json.dumps(record, indent=1, sort_keys=True))


def check_overrides(spec: TrainStage) -> None:
    """Refuse arguments that are not the user's to set."""
    owned = spec.overrides.keys() & OWNED_ARGUMENTS
    if owned:
        raise InputError(
            "InvalidOverrides",
            f"overrides: {', '.join(sorted(owned))} cannot be set here: resuming depends on it; use the "
            "fields of schedule and checkpoint",
        )


def progress(done: int, total: int, message: str, resumes: int | None = None) -> Progress:
    """Progress in optimiser steps, beside that of the steps themselves."""
    return Progress(stage="train", done=done, total=total, unit="steps", message=message, resumes=resumes)


def use_processes(place: ProcessRank, spec: TrainStage) -> None:
    """Tell torch about the other processes, before it is imported.

    Raises
    ------
    InputError
        If this pod sees several GPUs: they would be used in a way that changes the batch.
    """
    os.environ.update(rendezvous_variables(place, os.environ))
    os.environ.setdefault("ACCELERATE_USE_CPU", "true" if spec.device == "cpu" else "false")
    # Threads that wait by spinning cost a shared machine a third of its time (docs/experiments.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if spec.device == "gpu":
        import torch  # noqa: PLC0415 - torch comes late

        if torch.cuda.device_count() != 1:
            raise InputError(
                "NotOneGpu",
                f"compute: a training pod uses one GPU and sees {torch.cuda.device_count()}: "
                "ask for one GPU per node and as many nodes as GPUs",
            )


def warn_of_long_rows(kind: str, rows: Rows) -> tuple[str, ...]:
    """That rows are left out, because their prompts fill the sequence."""
    if not rows.too_long:
        return ()
    every = rows.too_long + len(rows.rows)
    return (
        f"{rows.too_long} of {every} {kind} rows are left out: their prompts fill batch.maxSequenceLength",
    )


def wait_for_all(place: ProcessRank) -> None:
    """Wait until every process is here, the first with the exported model; at once for a single one."""
    if place.world_size > 1:
        import torch.distributed as dist  # noqa: PLC0415 - torch comes late

        if not dist.is_initialized():  # all steps were made before this start
            dist.init_process_group("gloo")
        dist.barrier()
        dist.destroy_process_group()


def summary(lines: list[dict[str, float]], plan: TrainPlan, resumes: int) -> Training:
    """Where training ended, from its metrics: the last loss, the median of the tokens a second."""
    speeds = [line["tokens_per_second"] for line in lines if "tokens_per_second" in line]
    return Training(
        step=plan.steps,
        steps=plan.steps,
        epoch=round(plan.epochs, 4),
        loss=last_value(lines, "loss"),
        validation_loss=last_value(lines, "validation_loss"),
        tokens_per_second=median_high(speeds) if speeds else None,
        resumes=resumes,
    )
