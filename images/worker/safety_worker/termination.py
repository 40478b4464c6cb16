"""The termination message: a stage's result, made to fit what Kubernetes keeps of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safety_records.base import Record
from safety_records.result import MAX_RESULT_BYTES, Counts, Drift, JudgeAgreement, Score, StageResult

PATH_VARIABLE = "SAFETY_TERMINATION_LOG"
"""Variable with another path of the message; ``{rank}`` in it stands for the number of a process among those
that a launcher has started."""

S = TypeVar("S", Score, Drift)
R = TypeVar("R", bound=Record)
Update = dict[str, Any]
"""Fields of a smaller record; empty: it gets no smaller in this way."""

OTHER_SOURCES = "(others)"
"""Stands for the sources whose counts do not fit."""

SIGNIFICANT_DIGITS = 6
"""Digits of numbers in the message; ``result.json`` next to the artifact has all of them."""

MAX_WARNINGS = 5
"""Warnings in a message that is too long."""
MAX_WARNING_CHARACTERS = 160

REASONS = frozenset(
    (
        *("missing", "unpaired", "gained_missing", "answered_missing", "latency_missing"),
        *("silence", "bypass_detail"),
    )
)
"""Fields with words for people."""
MAX_REASON_CHARACTERS = 60
"""Of each in a message that is too long."""
LEAST_MESSAGE_CHARACTERS = 100
"""A failure's message is not cut below."""


def fit(result: StageResult, limit: int = MAX_RESULT_BYTES) -> str:
    """JSON of at most ``limit`` bytes, without what matters least.

    Scores and drifts that are left out are counted. Counts of sources are left out never: those that do not
    fit are added up.
    """
    small = result.model_copy(
        update={
            "scores": tuple(_rounded(score) for score in result.scores),
            "calibration": tuple(_rounded_agreement(item) for item in result.calibration),
            "drift": tuple(_rounded(drift) for drift in result.drift),
        }
    )
    for reduce in REDUCTIONS:
        while _size(small) > limit and (update := reduce(small)):
            small = small.model_copy(update=update)
    return small.to_json()


def _leave_out_versions(result: StageResult) -> Update:
    return {"versions": {}} if result.versions else {}


def _leave_out_inputs(result: StageResult) -> Update:
    return {"inputs": {}} if result.inputs else {}


def _shorten_reasons(result: StageResult) -> Update:
    found = {
        "scores": tuple(_with_short_reasons(score) for score in result.scores),
        "calibration": tuple(_with_short_reasons(item) for item in result.calibration),
        "rails": result.rails and _with_short_reasons(result.rails),
        "proof": result.proof and _with_short_reasons(result.proof),
    }
    return {name: value for name, value in found.items() if value != getattr(result, name)}


def _with_short_reasons(record: R) -> R:
    """The record with its texts of reasons cut: all others are names, and shorter."""
    reasons = {name: text for name, text in record if name in REASONS and len(text) > MAX_REASON_CHARACTERS}
    return record.model_copy(update={name: text[:MAX_REASON_CHARACTERS] for name, text in reasons.items()})


def _shorten_warnings(result: StageResult) -> Update:
    few = tuple(_short(warning) for warning in result.warnings[:MAX_WARNINGS])
    return {"warnings": few} if few != result.warnings else {}


def _leave_out_last_drift(result: StageResult) -> Update:
    return {"drift": result.drift[:-1], "omitted_drift": result.omitted_drift + 1} if result.drift else {}


def _leave_out_last_score(result: StageResult) -> Update:
    """The last score of a single probe; the last score where there is none."""
    if not result.scores:
        return {}
    probes = [number for number, score in enumerate(result.scores) if _is_probe(score.metric)]
    last = probes[-1] if probes else len(result.scores) - 1
    left = (*result.scores[:last], *result.scores[last + 1 :])
    return {"scores": left, "omitted_scores": result.omitted_scores + 1}


def _is_probe(metric: str) -> bool:
    return metric.startswith("security.") and metric != "security.resilience"


def _add_up_last_counts(result: StageResult) -> Update:
    """The last two sources as one."""
    if len(result.counts) < 2:  # noqa: PLR2004 - one and another
        return {}
    *first, one, other = result.counts
    sums = {name: value + getattr(other, name) for name, value in one if isinstance(value, int)}
    return {"counts": (*first, Counts(source=OTHER_SOURCES, **sums))}


def _shorten_failure(result: StageResult) -> Update:
    failure = result.failure
    if failure is None or len(failure.message) <= LEAST_MESSAGE_CHARACTERS:
        return {}
    message = f"{failure.message[: len(failure.message) * 3 // 4]} ..."
    return {"failure": failure.model_copy(update={"message": message})}


def _leave_out_last_warning(result: StageResult) -> Update:
    return {"warnings": result.warnings[:-1]} if result.warnings else {}


REDUCTIONS: tuple[Callable[[StageResult], Update], ...] = (
    _leave_out_versions,
    _leave_out_inputs,
    _shorten_reasons,
    _shorten_warnings,
    _leave_out_last_drift,
    _leave_out_last_score,
    _add_up_last_counts,
    _shorten_failure,
    _leave_out_last_warning,
)
"""What a message that is too long does without, each as often as it gives something."""


def _short(text: str) -> str:
    return text if len(text) <= MAX_WARNING_CHARACTERS else f"{text[: MAX_WARNING_CHARACTERS - 3]}..."


def message_path(environment: Mapping[str, str]) -> Path:
    """Where this process leaves its record."""
    path = environment.get(PATH_VARIABLE, "/dev/termination-log")
    return Path(path.replace("{rank}", environment.get("RANK", "0")))


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
