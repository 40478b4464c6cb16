"""What screening found about the rows of a blend, and what becomes of those that it selects."""

import json
from typing import Any

from safety_records.blend_stages import AssembleStage
from safety_records.result import ScreeningResult
from safety_worker.blending.outcomes import RowOutcome
from safety_worker.context import StageContext
from safety_worker.screening.selecting import ScoreOf, Selected, read_scores, select
from safety_worker.screening.table import SUMMARY_NAME, key_of


class ScreenedRows:
    """Rows that screening selects. Those that were to be screened and have no score are selected as well.

    Nobody knows that those are harmless. Where nothing was screened, nothing is selected.
    """

    def __init__(self, spec: AssembleStage, context: StageContext) -> None:
        self._wanted = spec.selection
        self._scores: dict[str, ScoreOf] = {}
        self._selected = Selected(frozenset(), frozenset(), None)
        self.details: Any = None
        """Content of ``screening.json``; None if nothing was screened."""
        if self._wanted is not None:
            folder = context.store.input(spec.screened)
            self._scores = read_scores(folder, self._wanted.method)
            self._selected = select(self._scores, self._wanted)
            self.details = json.loads((folder / SUMMARY_NAME).read_text(encoding="utf-8"))

    def apply(self, outcome: RowOutcome) -> RowOutcome:
        """The outcome of a row after screening."""
        if self._wanted is None:
            return outcome
        key, selected = key_of(outcome.row.part, outcome.row.digest), self._selected
        reason = "screened" if key in selected.rows else "unscored" if key in selected.unscored else ""
        dropped = reason if self._wanted.action == "drop" and not outcome.reason else outcome.reason
        return outcome._replace(reason=dropped, flagged=bool(reason), place=self._scores.get(key))

    @property
    def summary(self) -> ScreeningResult | None:
        """What was selected; None if nothing was screened."""
        if self._wanted is None:
            return None
        unscored = len(self._selected.unscored)
        return ScreeningResult(
            method=self._wanted.method,
            scored=len(self._scores) - unscored,
            unscored=unscored,
            selected=len(self._selected.rows) + unscored,
            cut=self._selected.cut,
        )
