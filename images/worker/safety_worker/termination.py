"""The termination message: a stage's result, made to fit what Kubernetes keeps of it."""

from pathlib import Path
from typing import TypeVar

from safety_records.result import MAX_RESULT_BYTES, Counts, Drift, JudgeAgreement, Score, StageResult

S = TypeVar("S", Score, Drift)

OTHER_SOURCES = "(others)"
"""Stands for the sources whose counts do not fit."""

SIGNIFICANT_DIGITS = 6
"""Digits of numbers in the message; ``result.json`` beside the artifact has all of them."""

MAX_WARNINGS = 5
"""Warnings in a message that is too long."""
MAX_WARNING_CHARACTERS = 160


def fit(result: StageResult, limit: int = MAX_RESULT_BYTES) -> str:
    """JSON of at most ``limit`` bytes. What matters least goes first, and what is left out is counted.

    Order: digits, versions, digests of inputs, long reasons, drifts from the last to the first, then scores
    of single probes from the last to the first. Counts of sources are left out never: those that do not fit
    are added up.
    """
    small = result.model_copy(
        update={
            "scores": tuple(_rounded(score) for score in result.scores),
            "calibration": tuple(_rounded_agreement(item) for item in result.calibration),
            "drift": tuple(_rounded(drift) for drift in result.drift),
        }
    )
    if _size(small) > limit:
        small = small.model_copy(update={"versions": {}})
    if _size(small) > limit:
        small = small.model_copy(update={"inputs": {}})
    if _size(small) > limit:
        cut = tuple(
            score.model_copy(update={"missing": score.missing[:60], "unpaired": score.unpaired[:60]})
            for score in small.scores
        )
        small = small.model_copy(update={"scores": cut})
    while _size(small) > limit and small.drift:
        small = small.model_copy(update={"drift": small.drift[:-1], "omitted_drift": small.omitted_drift + 1})
    while _size(small) > limit and small.scores:
        small = small.model_copy(
            update={"scores": _without_least(small.scores), "omitted_scores": small.omitted_scores + 1}
        )
    if _size(small) > limit:
        cut_short = tuple(_short(warning) for warning in small.warnings[:MAX_WARNINGS])
        small = small.model_copy(update={"warnings": cut_short})
    while _size(small) > limit and len(small.counts) > 1:
        small = small.model_copy(update={"counts": _added_up(small.counts)})
    while _size(small) > limit and small.failure is not None and len(small.failure.message) > 100:  # noqa: PLR2004
        message = small.failure.message[: len(small.failure.message) * 3 // 4] + " ..."
        small = small.model_copy(update={"failure": small.failure.model_copy(update={"message": message})})
    return small.to_json()


def _added_up(counts: tuple[Counts, ...]) -> tuple[Counts, ...]:
    """With the last two sources as one."""
    *first, one, other = counts
    sums = {name: value + getattr(other, name) for name, value in one if isinstance(value, int)}
    return (*first, Counts(source=OTHER_SOURCES, **sums))


def _short(text: str) -> str:
    return text if len(text) <= MAX_WARNING_CHARACTERS else f"{text[: MAX_WARNING_CHARACTERS - 3]}..."


def write_message(path: Path, result: StageResult) -> None:
    """Write the message. Kubernetes makes the file; a missing folder is created for runs by hand."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(fit(result), encoding="utf-8")


def _size(result: StageResult) -> int:
    return len(result.to_json().encode("utf-8"))


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def _rounded(score: S) -> S:
    update: dict[str, object] = {}
    if isinstance(score, Score):
        update = {name: _round(getattr(score, name)) for name in ("value", "lower", "upper")}
    if score.paired is not None:
        names = ("difference", "lower", "upper", "p_value")
        update["paired"] = score.paired.model_copy(
            update={name: _round(getattr(score.paired, name)) for name in names}
        )
    return score.model_copy(update=update)


def _rounded_agreement(item: JudgeAgreement) -> JudgeAgreement:
    numbers = {name: value for name, value in item if isinstance(value, float)}
    return item.model_copy(update={name: _round(value) for name, value in numbers.items()})


def _without_least(scores: tuple[Score, ...]) -> tuple[Score, ...]:
    """Without the last score of a single probe; without the last score where there is none."""
    for index in range(len(scores) - 1, -1, -1):
        metric = scores[index].metric
        if metric.startswith("security.") and metric != "security.resilience":
            return scores[:index] + scores[index + 1 :]
    return scores[:-1]
