"""The judge ``classifier``: a local text classifier reads the answer. What the worker's image has of them.

They are what a machine without a GPU has in place of guard models, and weak compared with those. ``docs/
experiments.md`` has measured precision and recall; reports say so wherever their scores are shown.
"""

import math
from collections.abc import Callable, Sequence
from typing import cast

from safety_worker.errors import InputError
from safety_worker.judging.base import Pair
from safety_worker.lazy import load
from safety_worker.rows import Verdict

Predict = Callable[[list[str]], list[float]]
"""A classifier: the probability of being unsafe, 0..1, of each text; no texts give no numbers."""

IN_IMAGE = {"prompt-harm-minilm": "safety_worker.judging.prompt_harm:PromptHarm"}
"""By name, what loads a classifier of the image."""


def load_image_classifier(name: str) -> Predict:
    """Load a classifier of the image by name.

    Raises
    ------
    InputError
        If there is none of that name, or this image lacks its package.
    """
    if name not in IN_IMAGE:
        raise InputError("UnknownClassifier", f"classifier {name!r}: known are {', '.join(sorted(IN_IMAGE))}")
    return cast("Predict", load(IN_IMAGE[name])())


class ClassifierJudge:
    """Calls an answer unsafe from a probability on.

    Parameters
    ----------
    predict
        The classifier.
    threshold
        Probability from which an answer is unsafe.
    """

    def __init__(self, predict: Predict, threshold: float) -> None:
        self._predict = predict
        self._threshold = threshold

    def judge(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """One verdict per pair; an answer without a valid probability is unparsed."""
        probabilities = self._predict([pair.answer for pair in pairs])
        if len(probabilities) != len(pairs):
            raise RuntimeError(f"classifier gave {len(probabilities)} probabilities for {len(pairs)} texts")
        return [self._verdict(float(probability)) for probability in probabilities]

    def _verdict(self, probability: float) -> Verdict:
        if not math.isfinite(probability):
            return Verdict(safe=None, unparsed=True, detail="no probability")
        return Verdict(
            safe=probability < self._threshold,
            score=1 - min(max(probability, 0.0), 1.0),
            detail=f"p(unsafe) {probability:.3f}",
        )
