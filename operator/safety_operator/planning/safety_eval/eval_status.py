"""The status of a SafetyEval beyond what all kinds have: target, scores, thresholds, report."""

from collections.abc import Sequence
from typing import Any

from safety_operator.api.eval_status import (
    EvalSummary,
    JudgeStatus,
    ReportStatus,
    SafetyEvalStatus,
    ThresholdStatus,
)
from safety_operator.api.safety_eval import SafetyEvalSpec
from safety_operator.planning.engine.batch import Outcome
from safety_operator.planning.engine.problems import attempt
from safety_operator.planning.engine.stages import artifact_fields
from safety_operator.planning.safety_eval.through_rails import find_evaluated
from safety_records.base import shared
from safety_records.eval_stages import EvaluatedTarget, ThresholdOutcome, ThresholdVerdict
from safety_records.numbers import decimal
from safety_records.result import JudgeAgreement, Score, Truth

_WORDS: dict[bool | None, Truth] = {True: "True", False: "False", None: "Unknown"}


def build_eval_status(
    outcome: Outcome[SafetyEvalSpec],
    common: dict[str, Any],
    verdicts: Sequence[ThresholdVerdict] | None,
) -> SafetyEvalStatus:
    """Scores as soon as they exist, the report when it is written."""
    run = outcome.run
    scored = run.results.get("score")
    judged = run.results.get("judge")
    scores = scored.scores if scored else ()
    return SafetyEvalStatus(
        **common,
        target=target_status(outcome),
        summary=_summary(scores) if scored else None,
        scores=scores[:256],
        omitted_scores=scored.omitted_scores or None if scored else None,
        rails=scored.rails if scored else None,
        judges=[judge_status(item) for item in judged.calibration[:8]] if judged else [],
        thresholds=[_threshold_status(item) for item in verdicts or ()],
        report=_report(outcome),
    )


def target_status(outcome: Outcome[SafetyEvalSpec]) -> EvaluatedTarget | None:
    """What is evaluated, None while it is not known."""
    run = outcome.run
    target = attempt(find_evaluated, run).value
    if target is None:
        return None
    return EvaluatedTarget(
        uri=target.uri[:2048],
        digest=target.digest[:71],
        guarded=target.guarded,
        serving=dict(target.settings) if target.settings is not None else None,
    )


def _summary(scores: Sequence[Score]) -> EvalSummary | None:
    """None where no main number is known."""
    values = {score.metric: score.value for score in scores}
    named = [score.value for score in scores if score.metric.startswith("accuracy.")]
    known = [value for value in named if value is not None]
    mean = sum(known) / len(known) if known and len(known) == len(named) else None
    accuracy = values.get("accuracy", mean)
    summary = EvalSummary(
        content_safety=decimal(values.get("contentSafety"), 3),
        security=decimal(values.get("security.resilience"), 3),
        accuracy=decimal(accuracy, 3),
    )
    return None if summary == EvalSummary() else summary


def judge_status(item: JudgeAgreement) -> JudgeStatus:
    """How far a judge agrees with people, and whether that is enough."""
    return JudgeStatus(**shared(item, JudgeAgreement), trusted=item.is_trusted)


def _threshold_status(verdict: ThresholdVerdict) -> ThresholdStatus:
    return ThresholdStatus(**shared(verdict, ThresholdOutcome), passed=_WORDS[verdict.passed])


def report_html(outcome: Outcome[SafetyEvalSpec]) -> str:
    """Where the report's page is, empty where there is none."""
    record = outcome.run.results.get("report")
    return f"pvc://{outcome.run.claim}/{record.html}"[:2048] if record and record.html else ""


def _report(outcome: Outcome[SafetyEvalSpec]) -> ReportStatus | None:
    record = outcome.run.results.get("report")
    if record is None or record.output is None:
        return None
    attestation = f"pvc://{outcome.run.claim}/{record.attestation}"[:2048] if record.attestation else ""
    product = artifact_fields(outcome.run, record.output)
    return ReportStatus(**product, html=report_html(outcome), attestation=attestation)
