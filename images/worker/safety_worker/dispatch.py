"""Which function runs which stage. Imported lazily: a pod that judges must not pay for torch."""

import logging
import shutil
from functools import partial
from typing import cast

from safety_records.blend_stages import ScreenStage
from safety_records.finetune_stages import ExportStage, PushStage, TrainStage
from safety_records.result import StageResult
from safety_records.stages import StageSpec
from safety_worker.artifacts.store import Finish
from safety_worker.context import StageContext
from safety_worker.devices import require_driver, require_torch
from safety_worker.lazy import load
from safety_worker.models.model_folder import model_files
from safety_worker.training.launching import launch, needs_launcher

log = logging.getLogger(__name__)

STAGES = {
    "fetch": "safety_worker.stages.fetch:run",
    "generate": "safety_worker.stages.generate:run",
    "judge": "safety_worker.stages.judge:run",
    "scan": "safety_worker.stages.scan:run",
    "benchmark": "safety_worker.stages.benchmark:run",
    "score": "safety_worker.stages.score:run",
    "report": "safety_worker.stages.report:run",
    "collect": "safety_worker.stages.collect:run",
    "answer": "safety_worker.stages.answer:run",
    "anchors": "safety_worker.stages.anchors:run",
    "screen": "safety_worker.stages.screen:run",
    "assemble": "safety_worker.stages.assemble:run",
    "prepare": "safety_worker.stages.prepare:run",
    "train": "safety_worker.stages.train:run",
    "export": "safety_worker.stages.export:run",
    "push": "safety_worker.stages.push:run",
    "verify": "safety_worker.stages.verify:run",
    "prove": "safety_worker.stages.prove:run",
    "probe": "safety_worker.stages.probe:run",
}
"""``module:function`` of each stage; it gets a specification and a StageContext, and gives a StageResult."""


def run_stage(spec: StageSpec, context: StageContext) -> StageResult | None:
    """Run one stage and complete its output folder, or give back the stored result of an earlier run.

    None where several processes run it and another one completes it.
    """
    stored = context.store.load_result(spec.out, spec.inputs_hash)
    if stored is not None:
        context.store.touch(spec.out)
        _clean_up(spec, context)
        return stored
    # Preparing a training has its device too, and needs none.
    device = spec.device if isinstance(spec, ScreenStage | TrainStage) else "cpu"
    require_driver(device)
    if isinstance(spec, TrainStage) and needs_launcher(spec, context.environment):
        work = context.store.path(f"{spec.out}.work")
        return launch(spec, context.environment, work)  # each of its processes comes here again
    require_torch(device)
    result = load(STAGES[spec.stage])(spec, context)
    if result is None:
        return None
    assert isinstance(result, StageResult)
    if result.failure is not None:
        return result
    paths = model_files(context.store.path(spec.out)) if isinstance(spec, ExportStage | TrainStage) else None
    completed = context.store.complete(spec.out, result, paths, _report_of(spec, context))
    _clean_up(spec, context)
    return completed


def _report_of(spec: StageSpec, context: StageContext) -> Finish | None:
    """What writes the report of a trained model; with NeMo-RL the model is there when it is exported."""
    if isinstance(spec, PushStage):
        add_push = load("safety_worker.training_report.writing:add_push")
        return cast("Finish", partial(add_push, spec, context.store))
    if not isinstance(spec, ExportStage | TrainStage) or (isinstance(spec, TrainStage) and spec.prepared):
        return None
    add_report = load("safety_worker.training_report.writing:add_report")
    return cast("Finish", partial(add_report, spec, context.store))


def _clean_up(spec: StageSpec, context: StageContext) -> None:
    """Remove checkpoints of a model that is complete: they are many times as large as it is."""
    checkpoints = context.store.path(f"{spec.out}.work/checkpoints")
    if not (isinstance(spec, TrainStage) and spec.backend == "trl" and checkpoints.exists()):
        return
    try:
        shutil.rmtree(checkpoints)
    except OSError as error:
        # The model is there all the same.
        log.warning("checkpoints stay behind: error=%s", error)
