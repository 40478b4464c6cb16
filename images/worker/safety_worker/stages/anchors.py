"""The anchors stage: what rows are compared with is read before the model is asked for answers.

Answers cost more than anchors that turn out to be empty. The output, ``anchors.json``, is all that screening
pods see of them.
"""

from safety_records.result import StageResult
from safety_records.stages import AnchorsStage
from safety_worker import __version__
from safety_worker.context import StageContext
from safety_worker.screening.anchors import Anchors, load_layer_prompts, load_set, write_anchors


def run(spec: AnchorsStage, context: StageContext) -> StageResult:
    """Read all sets.

    Raises
    ------
    InputError
        If a set is empty, or an example has no response.
    """
    said: list[str] = []
    anchors = Anchors(
        load_set("harmful", spec.harmful, context, said),
        tuple(load_set(f"safe-{number}", item, context, said) for number, item in enumerate(spec.safe)),
        () if spec.layer_prompts is None else load_layer_prompts(spec.layer_prompts, context, said),
    )
    write_anchors(context.store.output(spec.out), anchors)
    return StageResult(
        stage="anchors",
        inputs_hash=spec.inputs_hash,
        rows=len(anchors.harmful) + sum(map(len, anchors.safe)),
        warnings=tuple(said),
        versions={"safety-worker": __version__},
    )
