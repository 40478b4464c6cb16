"""Gradient matching with bidirectional anchoring (arXiv 2404.01099).

Score = cosine of a row's gradient to the harmful anchor set minus its cosines to the safe ones. The gradient
is that of the mean loss of the first response tokens; an anchor set is the mean of its examples' gradients,
each of length 1.

No gradient of a row is ever kept. One backward pass serves a whole batch and differentiates activations
only; from what comes by each layer (input and output gradient) dot products with the anchors and lengths are
taken per row while they are alive (``full_gradient``), or the adapters' gradients are projected
(``lora_gradient``).
"""

from collections.abc import Sequence
from typing import Any

import torch

from safety_records.screening import GradientOptions
from safety_worker.errors import InputError
from safety_worker.screening.anchors import Anchors
from safety_worker.screening.candidates import Candidate
from safety_worker.screening.encoding import Encoded
from safety_worker.screening.full_gradient import FullGradient
from safety_worker.screening.lora_gradient import LoraGradient
from safety_worker.screening.loss import in_gradient_batches
from safety_worker.screening.model import Screener, encode_anchors, score_encoded
from safety_worker.screening.records import RowScore

Tensor = Any


class GradientScorer:
    """Cosine to the harmful set minus cosine to each safe set, -1-K..1+K for K safe sets."""

    method = "gradient"

    def __init__(self, screener: Screener, anchors: Anchors, options: GradientOptions) -> None:
        if not anchors.safe:
            raise InputError("EmptyAnchors", "screening.anchors.safe: gradient needs safe anchors")
        sets = (anchors.harmful, *anchors.safe)
        self._names = [group[0].name.split("/")[0] for group in sets]
        encoded = [
            encode_anchors(screener, group, name) for group, name in zip(sets, self._names, strict=True)
        ]
        kind = FullGradient if options.parameters == "full" else LoraGradient
        self._screener = screener
        self._tokens = options.tokens
        self._gradients: FullGradient | LoraGradient = kind(screener, encoded, options)

    def score(self, rows: Sequence[Candidate]) -> list[RowScore]:
        """One result per row."""
        return score_encoded(self._screener, rows, self._score, needs_response=True)

    def _score(self, rows: Sequence[Encoded]) -> list[RowScore]:
        made = in_gradient_batches(self._screener, rows, self._tokens, self._gradients.cosines)
        cosines_BK = torch.cat([cosines for _, cosines in made])
        scores = (cosines_BK[:, 0] - cosines_BK[:, 1:].sum(dim=1)).tolist()
        similarity, nearest = (item.tolist() for item in cosines_BK.max(dim=1))
        places = [n for batch, _ in made for n in batch]
        found = {
            place: RowScore(scores[n], self._names[nearest[n]], similarity[n])
            for n, place in enumerate(places)
        }
        return [found[n] for n in range(len(rows))]
