"""The export stage of a SafetyFinetune with NeMo-RL: a checkpoint becomes a model folder."""

from safety_records.finetune_stages import ExportStage
from safety_records.progress import Progress
from safety_records.result import StageResult
from safety_worker.context import StageContext
from safety_worker.training.nemo_rl.export import export, remove_checkpoints


def run(spec: ExportStage, context: StageContext) -> StageResult:
    """Write the model, then free what the checkpoints take.

    Raises
    ------
    InputError, InfrastructureError
        If no checkpoint can be exported.
    """
    root = context.store.path("")
    export(spec, root, context.report_progress)
    left = remove_checkpoints(spec, root)
    context.report_progress(
        Progress(stage="export", done=1, total=1, unit="files", message="hashing the model")
    )
    return StageResult(stage="export", inputs_hash=spec.inputs_hash, warnings=left)
