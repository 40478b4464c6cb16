"""What scoring one row gave, as the working files have it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from safety_records.base import Record
from safety_worker.screening.candidates import Candidate


class RowScore(NamedTuple):
    """What a method says about one row."""

    score: float | None
    """None: the row has no score, and ``missing`` says why."""
    nearest: str = ""
    """representation, larf: the harmful example that is most alike; gradient: the anchor set that is."""
    similarity: float | None = None
    """Cosine to it, -1..1."""
    tokens: int | None = None
    """Tokens of the whole row."""
    missing: str = ""
    """too-long, no-response, refused-by-template or not-finite."""


class Scorer(Protocol):
    """A method with its model and anchors."""

    method: str

    def score(self, rows: Sequence[Candidate]) -> list[RowScore]:
        """One result per row, in their order. Depends on the rows given and nothing else."""


class ScoreLine(Record):
    """One row and method, as in ``scores.parquet`` but for the rank."""

    method: str
    part: str
    digest: str
    source: str
    file: str = ""
    index: int
    score: float | None = None
    nearest: str = ""
    similarity: float | None = None
    tokens: int | None = None
    missing: str = ""
    list: bool = False
    maths: bool = False


LAYER_NAME = "layer.json"
"""Working file with the layer that ``larf`` compares, and how it was found."""


VERSIONS_NAME = "versions.json"
"""Working file with the versions of the libraries that scored."""
