"""Which function runs which stage. Imported lazily: a pod that judges must not pay for torch."""

import importlib
from collections.abc import Callable

from safety_records.result import StageResult
from safety_records.stages import StageSpec, TrainStage
from safety_worker.context import StageContext
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.models.model_folder import model_files

StageFunction = Callable[[StageSpec, StageContext], StageResult]

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
    "anchors": "safety_worker.screening.anchors:run",
    "screen": "safety_worker.stages.screen:run",
    "assemble": "safety_worker.stages.assemble:run",
    "train": "safety_worker.dispatch:run_train",
    "prove": "safety_worker.stages.prove:run",
}
"""``module:function`` of each stage."""


def load(target: str) -> Callable[..., object]:
    """The function behind ``module:function``.

    Raises
    ------
    InfrastructureError
        If this image lacks it.
    """
    module, _, name = target.partition(":")
    try:
        function: Callable[..., object] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InfrastructureError("MissingCode", f"this image cannot load {target}: {error}") from error
    return function


def run_stage(spec: StageSpec, context: StageContext) -> StageResult:
    """Run one stage and complete its output folder, or give back the stored result of an earlier run."""
    stored = context.store.load_result(spec.out, spec.inputs_hash)
    if stored is not None:
        context.store.touch(spec.out)
        return stored
    result = load(STAGES[spec.stage])(spec, context)
    assert isinstance(result, StageResult)
    if result.failure is not None:
        return result
    paths = model_files(context.store.path(spec.out)) if isinstance(spec, TrainStage) else None
    return context.store.complete(spec.out, result, paths)


def run_train(spec: StageSpec, context: StageContext) -> StageResult:
    """Adapt the training stage, which works on local folders only."""
    if not isinstance(spec, TrainStage):
        raise InputError("InvalidSpecification", f"{spec.stage} is no train stage")
    if not context.store.is_local:
        raise InputError(
            "TrainingNeedsClaim",
            f"artifacts: {context.store.root} cannot keep checkpoints: name a claim that all nodes can mount",
        )
    function = load("safety_worker.stages.train:run_train")
    result = function(spec, context.store.path(""), context.report_progress)
    assert isinstance(result, StageResult)
    return result
