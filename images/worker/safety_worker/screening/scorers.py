"""Load the model once and put the wanted methods together. Loaded by ``stage`` when rows need scores."""

from collections.abc import Callable
from importlib import metadata

from safety_records.blend_stages import ScreenStage
from safety_records.screening import ScreenMethod
from safety_worker.context import StageContext
from safety_worker.screening.anchors import Anchors
from safety_worker.screening.gradient import GradientScorer
from safety_worker.screening.larf import find_layer
from safety_worker.screening.model import Screener, load_screener
from safety_worker.screening.pool import Pool
from safety_worker.screening.records import LAYER_NAME, VERSIONS_NAME, Scorer
from safety_worker.screening.representation import LayerScorer, RepresentationScorer

LIBRARIES = ("torch", "transformers", "tokenizers")
"""Their versions influence the scores."""


def build_scorers(
    spec: ScreenStage, context: StageContext, anchors: Anchors, pool: Pool, say: Callable[[str], None]
) -> list[Scorer]:
    """Scorers of all methods, in the order of the specification.

    Raises
    ------
    InputError
        If the model cannot be screened with, or its safety-sensitive layer cannot be found.
    """
    screener = load_screener(spec, context.store.input(spec.model))
    pool.write(VERSIONS_NAME, {name: metadata.version(name) for name in LIBRARIES})
    return [_build(method, spec, anchors, pool, screener, say) for method in spec.methods]


def _build(  # noqa: PLR0917 - private, and called once
    method: ScreenMethod,
    spec: ScreenStage,
    anchors: Anchors,
    pool: Pool,
    screener: Screener,
    say: Callable[[str], None],
) -> Scorer:
    if method is ScreenMethod.REPRESENTATION:
        return RepresentationScorer(screener, anchors, spec.average)
    if method is ScreenMethod.GRADIENT:
        say("computing the anchors' gradients")
        return GradientScorer(screener, anchors, spec.gradient)
    if spec.layer is None and not pool.has(LAYER_NAME):
        say("looking for the safety-sensitive layer")
        pool.write(LAYER_NAME, find_layer(screener, anchors, pool))
    layer = spec.layer or int(pool.read(LAYER_NAME)["layer"])
    return LayerScorer(screener, anchors, layer)
