"""The anchors stage: what rows are compared with is read before the model is asked for answers.

Answers cost more than anchors that turn out to be empty. The output, ``anchors.json``, is all that screening
pods see of them.
"""

from safety_records.blend_stages import AnchorsStage
from safety_records.result import StageResult
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
    warnings: list[str] = []
    layer = spec.layer_prompts
    anchors = Anchors(
        harmful=load_set("harmful", spec.harmful, context, warnings),
        safe=tuple(load_set(f"safe-{n}", item, context, warnings) for n, item in enumerate(spec.safe)),
        layer_prompts=() if layer is None else load_layer_prompts(layer, context, warnings),
    )
    write_anchors(context.store.output(spec.out), anchors)
    return StageResult(
        stage="anchors",
        inputs_hash=spec.inputs_hash,
        rows=len(anchors.harmful) + sum(map(len, anchors.safe)),
        warnings=tuple(warnings),
        versions={"safety-worker": __version__},
    )
