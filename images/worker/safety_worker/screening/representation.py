"""Representation matching and LARF: rows by the hidden state of their last token. Forward passes only.

Shapes: N rows, M anchors, D hidden size.
"""

from collections.abc import Sequence
from typing import Any

from safety_worker.errors import InputError
from safety_worker.screening.anchors import Anchor, Anchors
from safety_worker.screening.candidates import Candidate
from safety_worker.screening.encoding import Encoded
from safety_worker.screening.model import Screener, encode_anchors, last_states, score_encoded
from safety_worker.screening.records import RowScore

Tensor = Any


class RepresentationScorer:
    """Mean of the highest cosines to harmful anchors, -1..1 (arXiv 2404.01099, representation matching).

    Features are the last layer's hidden states (behind the final norm) at the last token. The number of
    cosines in the mean is the paper's ``avg_n``; where there are fewer anchors, all count.
    """

    method = "representation"

    def __init__(self, screener: Screener, anchors: Anchors, average: int) -> None:
        self._screener = screener
        self._names = [anchor.name for anchor in anchors.harmful]
        self._harmful_MD = anchor_states(screener, anchors.harmful, None)
        self._average = min(average, len(self._names))

    def score(self, rows: Sequence[Candidate]) -> list[RowScore]:
        """One result per row."""
        return score_encoded(self._screener, rows, self._score, needs_response=False)

    def _score(self, rows: Sequence[Encoded]) -> list[RowScore]:
        cosines_NM = last_states(self._screener, rows) @ self._harmful_MD.T
        scores = cosines_NM.topk(self._average, dim=1).values.mean(dim=1)
        return with_nearest(scores, cosines_NM, self._names)


class LayerScorer:
    """Mean cosine to harmful anchors minus mean cosine to safe ones at one layer, -2..2 (arXiv 2507.18631).

    Features are the layer's output at the last token. All safe sets count together.
    """

    method = "larf"

    def __init__(self, screener: Screener, anchors: Anchors, layer: int) -> None:
        count = len(screener.decoder.layers)
        if layer > count:
            raise InputError("NoSuchLayer", f"screening.layer is {layer}, but the model has {count} layers")
        if not anchors.safe:
            raise InputError("EmptyAnchors", "screening.anchors.safe: larf needs safe anchors")
        self._screener = screener
        self._layer = layer
        self._names = [anchor.name for anchor in anchors.harmful]
        safe = [anchor for group in anchors.safe for anchor in group]
        self._harmful_MD = anchor_states(screener, anchors.harmful, layer)
        self._safe_D = anchor_states(screener, safe, layer).mean(dim=0)

    def score(self, rows: Sequence[Candidate]) -> list[RowScore]:
        """One result per row."""
        return score_encoded(self._screener, rows, self._score, needs_response=False)

    def _score(self, rows: Sequence[Encoded]) -> list[RowScore]:
        states_ND = last_states(self._screener, rows, self._layer)
        cosines_NM = states_ND @ self._harmful_MD.T
        return with_nearest(cosines_NM.mean(dim=1) - states_ND @ self._safe_D, cosines_NM, self._names)


def anchor_states(screener: Screener, anchors: Sequence[Anchor], layer: int | None) -> Tensor:
    """Features of anchors, (M, D) of length 1."""
    return last_states(screener, encode_anchors(screener, anchors, anchors[0].name.split("/")[0]), layer)


def with_nearest(scores_N: Tensor, cosines_NM: Tensor, names: Sequence[str]) -> list[RowScore]:
    """Scores with the anchor that is most alike."""
    similarity, nearest = cosines_NM.max(dim=1)
    return [
        RowScore(score, names[place], cosine)
        for score, place, cosine in zip(scores_N.tolist(), nearest.tolist(), similarity.tolist(), strict=True)
    ]
