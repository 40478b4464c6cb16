"""Entries of a SafetyEval's history: what is kept of a run when its results make room for newer ones."""

from collections.abc import Sequence

from safety_operator.api.eval_status import SafetyEvalStatus
from safety_operator.api.safety_eval import SafetyEvalSpec
from safety_operator.api.schedule import RunStatus
from safety_operator.children.metadata import canonical_hash
from safety_operator.planning.engine.batch import Outcome
from safety_operator.planning.engine.conditions import ConditionUpdate, shorten
from safety_operator.planning.engine.stages import Run
from safety_operator.planning.safety_eval.eval_status import report_html, target_status
from safety_operator.state.reading import format_time, generation_of
from safety_records.base import shared
from safety_records.eval_stages import ThresholdVerdict
from safety_records.result import ScoreValue

MAX_SCORES = 48
"""Scores of an entry: twenty entries of this size stay far below what an object may hold."""


def status_before(run: Run[SafetyEvalSpec]) -> SafetyEvalStatus:
    """The status as it was written last."""
    assert isinstance(run.before, SafetyEvalStatus)
    return run.before


def finished_run(
    outcome: Outcome[SafetyEvalSpec], passed: ConditionUpdate, verdicts: Sequence[ThresholdVerdict]
) -> RunStatus:
    """The entry of a run whose stages are all done."""
    run = outcome.run
    view = outcome.view("report")
    scored, reported = run.results.get("score"), run.results.get("report")
    target = target_status(outcome)
    wanted = {verdict.metric for verdict in verdicts}
    scores = [score for score in (scored.scores if scored else ()) if _matters(score.metric, wanted)]
    return RunStatus(
        id=view.status.hash if view else "",
        time=run.repetition.time,
        finished_at=view.status.finished_at if view else "",
        generation=generation_of(run.observed.resource),
        state="Succeeded",
        passed=passed.status,
        message=shorten(passed.message, 512),
        digest=target.digest if target else "",
        html=report_html(outcome),
        scores=tuple(ScoreValue(**shared(score, ScoreValue)) for score in scores[:MAX_SCORES]),
        drift=(reported.drift if reported else ())[:MAX_SCORES],
    )


def failed_run(outcome: Outcome[SafetyEvalSpec], time: str, words: str) -> RunStatus:
    """The entry of a run that was given up."""
    run = outcome.run
    return RunStatus(
        id=canonical_hash(["given up", time]),
        time=time,
        finished_at=format_time(run.now),
        generation=generation_of(run.observed.resource),
        state="Failed",
        passed="Unknown",
        message=shorten(words, 512),
    )


def _matters(metric: str, wanted: set[str]) -> bool:
    return not metric.startswith("security.") or metric == "security.resilience" or metric in wanted
