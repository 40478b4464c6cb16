"""The prepare stage of a SafetyFinetune with NeMo-RL: what its training starts from, checked."""

from safety_records.finetune_stages import PrepareStage
from safety_records.result import StageResult
from safety_worker.context import StageContext
from safety_worker.training.nemo_rl.prepare import prepare


def run(spec: PrepareStage, context: StageContext) -> StageResult:
    """Write configuration and rows; the training's pods read them at the same path."""
    return prepare(spec, context.store.path(""), context.report_progress)
