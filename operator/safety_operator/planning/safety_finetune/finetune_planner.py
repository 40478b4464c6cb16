"""SafetyFinetune: what it refers to, its plan and its status. Its stages: ``training_stages``."""

from typing import Any

from safety_operator.api.finetune_output import FinetuneOutputStatus
from safety_operator.api.safety_finetune import (
    FinetuneReportStatus,
    SafetyFinetuneSpec,
    SafetyFinetuneStatus,
)
from safety_operator.planning.engine.batch import MAX_WARNINGS, Outcome, advance, conclude
from safety_operator.planning.engine.problems import attempt
from safety_operator.planning.engine.references import Reference, uri_reference
from safety_operator.planning.engine.stages import artifact_fields
from safety_operator.planning.safety_finetune.pushing import PUSH, push_references, pushed_status
from safety_operator.planning.safety_finetune.settings import chosen_settings
from safety_operator.planning.safety_finetune.tracking import (
    shown_training,
    tracking_references,
    tracking_warnings,
)
from safety_operator.planning.safety_finetune.training_data import TRAIN, find_training_data, reader
from safety_operator.planning.safety_finetune.training_stages import FineRun, exporter, room_of, table_of
from safety_operator.planning.shared.models import device_of, find_model, model_references
from safety_operator.state.keys import RUN_KINDS, ObjectKey
from safety_operator.state.labels import ANNOTATION_ATTEMPT
from safety_operator.state.plan import Plan
from safety_operator.state.reading import annotation, integer, value_at
from safety_records.base import shared
from safety_records.result import Artifact, StageResult, Training
from safety_records.training import TrainingNumbers


def references(spec: SafetyFinetuneSpec) -> tuple[Reference, ...]:
    """The model, the data, what the model is pushed with, and the trackers' Secrets."""
    blend, uri = spec.data.blend_ref, spec.data.uri
    return (
        *model_references(spec.model),
        *([Reference("spec.data.blendRef", "SafetyBlend", blend.name)] if blend else ()),
        *([uri_reference("spec.data.uri", uri, reader(spec))] if uri else ()),
        *push_references(spec),
        *tracking_references(spec),
    )


def plan(run: FineRun) -> Plan:
    """Where fine-tuning is, and what to do about it."""
    outcome = advance(run, table_of(run.spec))
    pushed = pushed_status(outcome)
    where = f"status.output and at {pushed.uri}" if pushed else "status.output"
    return conclude(outcome, f"Training finished; the model is in {where}.", _status)


def _status(outcome: Outcome[SafetyFinetuneSpec], common: dict[str, Any]) -> SafetyFinetuneStatus:
    """Numbers from the finished record, else from the running pod, else the last ones known."""
    run = outcome.run
    record = run.results.get(exporter(run.spec))
    model = attempt(find_model, run, run.spec.model, "spec.model").value
    output = record.output if record else None
    room = room_of(run, model) if model else None
    if room is not None and record is None:
        common["warnings"] = [*room.warnings, *common["warnings"]][:MAX_WARNINGS]
    training = shown_training(_training(outcome), run.claim)
    common["warnings"] = [*common["warnings"], *tracking_warnings(training)][:MAX_WARNINGS]
    return SafetyFinetuneStatus(
        **common,
        **shared(training, Training),
        restarts=_restarts(outcome),
        base_digest=model.digest if model else "",
        data_digest=_data_digest(run),
        output=_output(outcome, output) if output else None,
        report=_report(run, run.results.get(PUSH)) or _report(run, record),
        settings=chosen_settings(run.spec, device_of(run, run.spec.compute.device)),
        estimate=room.estimate if room else None,
    )


def _output(outcome: Outcome[SafetyFinetuneSpec], output: Artifact) -> FinetuneOutputStatus:
    return FinetuneOutputStatus(**artifact_fields(outcome.run, output), pushed=pushed_status(outcome))


def _report(run: FineRun, record: StageResult | None) -> FinetuneReportStatus | None:
    if record is None or record.report is None:
        return None
    html = f"pvc://{run.claim}/{record.html}"[:2048]
    return FinetuneReportStatus(**artifact_fields(run, record.report), html=html)


def _training(outcome: Outcome[SafetyFinetuneSpec]) -> Training:
    record = outcome.run.results.get(TRAIN)
    if record is not None and record.training is not None:
        return record.training
    view = outcome.view(TRAIN)
    job = view.status.job if view and view.status.state != "Pending" else ""
    progress = outcome.run.observed.progress.get(job)
    last = _last_training(outcome, view.status.hash if view else "")
    if progress is None or progress.unit != "steps":
        return last
    if progress.resumes is None:  # it has not found its last checkpoint yet, or exports the model
        step = max(progress.done, last.step or 0)
        tracking = progress.tracking or last.tracking
        return last.model_copy(update={"step": step, "resumes": last.resumes or 0, "tracking": tracking})
    return Training(**shared(progress, TrainingNumbers), step=progress.done, steps=progress.total or None)


def _last_training(outcome: Outcome[SafetyFinetuneSpec], digest: str) -> Training:
    """That of the present status, while nothing new is known of the same training."""
    before = outcome.run.before
    same = digest and before.stage(TRAIN).hash == digest
    return Training(**shared(before, Training)) if same else Training()


def _restarts(outcome: Outcome[SafetyFinetuneSpec]) -> int:
    """Pods that failed, at least: of a Job of an earlier try one did, and its count is gone with it.

    The Job that asks for the record of a RayJob follows one that ran well.
    """
    run, view = outcome.run, outcome.view(TRAIN)
    assert isinstance(run.before, SafetyFinetuneStatus)
    name = view.status.job if view else ""
    keys = (ObjectKey(kind, name) for kind in RUN_KINDS)
    key = next((key for key in keys if key in run.observed.children), None)
    job = run.observed.children[key] if key else None
    same = view is not None and run.before.stage(TRAIN).hash == view.status.hash
    asking = key is not None and key.kind == "Job" and run.spec.compute.launcher == "kuberay"
    earlier = max(0, integer(annotation(job, ANNOTATION_ATTEMPT), 1) - 1 - asking) if job else 0
    failed = earlier + integer(value_at(job, "status", "failed"))
    return max(failed, (run.before.restarts or 0) if same else 0)


def _data_digest(run: FineRun) -> str:
    data = attempt(find_training_data, run).value
    return data.digest if data else ""
