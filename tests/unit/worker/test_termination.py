"""The termination message: what fits, and what goes where not all does."""

from typing import Any

import pytest

from safety_records.result import (
    MAX_RESULT_BYTES,
    Counts,
    FailureClass,
    JudgeAgreement,
    Proof,
    RailsEffect,
    Score,
    StageFailure,
    StageResult,
)
from safety_worker.termination import fit

LONG = "\u4e2d" * 200
WARNINGS = ("\u4e2d" * 512,) * 64
RAILS = RailsEffect(gained_missing=LONG, answered_missing=LONG, latency_missing=LONG)
PROOF = Proof(
    unsafe_blocked=1, unsafe_total=2, benign_answered=1, benign_total=2, silence=LONG, bypass_detail=LONG
)
NUMBERS = (
    *("agreement", "agreement_lower", "agreement_upper", "kappa", "kappa_lower", "kappa_upper"),
    *("false_safe", "false_safe_lower", "false_safe_upper"),
)
JUDGE: dict[str, Any] = {"judge": "j" * 63, "samples": 10**6, "unparsed": 10**5}
MEASURED = JudgeAgreement(**JUDGE, **dict.fromkeys(NUMBERS, 0.123456789))


def score(metric: str) -> Score:
    return Score(
        metric=metric, value=1 / 3, lower=0.123456789, upper=0.987654321, samples=100, judge="phrases"
    )


def test_a_result_with_many_scores_fits_and_says_what_it_left_out() -> None:
    scores = [
        score("contentSafety"),
        score("security.resilience"),
        *(score(f"security.p.{n}") for n in range(80)),
    ]
    result = StageResult(
        stage="score",
        inputs_hash="h",
        scores=(*scores, score("accuracy.arith")),
        versions={"garak": "x" * 500},
    )
    text = fit(result)
    small = StageResult.model_validate_json(text)
    assert len(text.encode()) <= MAX_RESULT_BYTES
    assert [s.metric for s in small.scores][:2] == ["contentSafety", "security.resilience"]
    assert small.scores[-1].metric == "accuracy.arith"
    assert small.omitted_scores == 83 - len(small.scores) > 0
    assert small.scores[0].value == 0.333333


def test_a_small_result_is_left_as_it_is() -> None:
    result = StageResult(stage="score", inputs_hash="h", versions={"garak": "0.17.1"})
    assert StageResult.model_validate_json(fit(result)) == result


def test_counts_of_many_sources_are_added_up_until_they_fit() -> None:
    counts = tuple(
        Counts(source=f"source-{n:02d}", read=23_421, duplicate=344, sampled=500, generated=500, kept=490)
        for n in range(64)
    )
    inputs = {f"source source-{n:02d}": "sha256:" + "1" * 64 for n in range(64)}
    text = fit(StageResult(stage="assemble", inputs_hash="a" * 40, counts=counts, inputs=inputs))
    assert len(text.encode()) <= MAX_RESULT_BYTES
    fitted = StageResult.model_validate_json(text).counts
    assert fitted[0] == counts[0]
    assert fitted[-1].source == "(others)"
    for name in ("read", "duplicate", "kept"):
        assert sum(getattr(item, name) for item in fitted) == 64 * getattr(counts[0], name)


@pytest.mark.parametrize(
    "fields",
    [
        {"rails": RAILS},
        {"proof": PROOF},
        {"calibration": (MEASURED,) * 8},
        {"calibration": (JudgeAgreement(**JUDGE, missing=LONG),) * 8},
        {"failure": StageFailure(failure=FailureClass.INPUT, reason="Wrong", message="\u4e2d" * 1200)},
    ],
    ids=["rails", "proof", "judges with numbers", "judges without", "failure"],
)
def test_every_kind_of_result_fits_whatever_it_says(fields: dict[str, Any]) -> None:
    """Kubernetes would cut off the rest, and the operator could read nothing of it."""
    text = fit(StageResult(stage="s", inputs_hash="h" * 64, warnings=WARNINGS, **fields))
    assert len(text.encode()) <= MAX_RESULT_BYTES
    read = StageResult.model_validate_json(text)
    assert all(getattr(read, name) for name in fields)
    assert len(read.calibration) == len(fields.get("calibration", ()))


def test_long_warnings_go_before_scores() -> None:
    result = StageResult(stage="score", inputs_hash="h", scores=(score("a"), score("b")), warnings=WARNINGS)
    small = StageResult.model_validate_json(fit(result))
    assert [item.metric for item in small.scores] == ["a", "b"]
    assert small.omitted_scores == 0
