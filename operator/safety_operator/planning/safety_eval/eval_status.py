"""The status of a SafetyEval beyond what all kinds have: target, scores, thresholds, report."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from safety_operator.api.eval_status import (
    EvalSummary,
    JudgeStatus,
    ReportStatus,
    SafetyEvalStatus,
    TargetStatus,
    ThresholdStatus,
)
from safety_operator.api.safety_eval import SafetyEvalSpec
from safety_operator.planning.engine.batch import Outcome
from safety_operator.planning.engine.conditions import shorten
from safety_operator.planning.engine.problems import attempt
from safety_operator.planning.engine.stages import artifact_fields
from safety_operator.planning.safety_eval.through_rails import find_evaluated
from safety_records.numbers import decimal
from safety_records.result import JudgeAgreement, Score
from safety_records.stages import ThresholdVerdict

_WORDS = {True: "True", False: "False", None: "Unknown"}


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


def target_status(outcome: Outcome[SafetyEvalSpec]) -> TargetStatus | None:
    """What is evaluated, None while it is not known."""
    run = outcome.run
    target = attempt(partial(find_evaluated, run)).value
    if target is None:
        return None
    return TargetStatus(uri=target.uri, digest=target.digest[:71], guarded=target.guarded)


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
    """How far a judge agrees with people, in decimal strings."""
    return JudgeStatus(
        name=item.judge,
        samples=item.samples,
        unparsed=item.unparsed,
        agreement=decimal(item.agreement),
        agreement_interval=_interval(item.agreement_lower, item.agreement_upper),
        kappa=decimal(item.kappa),
        kappa_interval=_interval(item.kappa_lower, item.kappa_upper),
        false_safe=decimal(item.false_safe),
        false_safe_interval=_interval(item.false_safe_lower, item.false_safe_upper),
        trusted=item.trusted,
        missing=item.missing,
    )


def _interval(lower: float | None, upper: float | None) -> str:
    return "" if lower is None or upper is None else f"{decimal(lower, 3)} to {decimal(upper, 3)}"


def _threshold_status(verdict: ThresholdVerdict) -> ThresholdStatus:
    return ThresholdStatus.model_validate(
        {
            "metric": verdict.metric,
            "wanted": shorten(verdict.wanted, 64),
            "got": shorten(verdict.got, 256),
            "passed": _WORDS[verdict.passed],
        }
    )


def report_html(outcome: Outcome[SafetyEvalSpec]) -> str:
    """Where the report's page lies, empty where there is none."""
    record = outcome.run.results.get("report")
    return f"pvc://{outcome.run.claim}/{record.html}"[:2048] if record and record.html else ""


def _report(outcome: Outcome[SafetyEvalSpec]) -> ReportStatus | None:
    record = outcome.run.results.get("report")
    if record is None or record.output is None:
        return None
    attestation = f"pvc://{outcome.run.claim}/{record.attestation}"[:2048] if record.attestation else ""
    product = artifact_fields(outcome.run, record.output)
    return ReportStatus(**product, html=report_html(outcome), attestation=attestation)
