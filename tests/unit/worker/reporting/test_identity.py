"""Only what was measured in the same way is compared, from the files that the stages leave."""

import json
from typing import Any

import pytest
from tests.unit.worker.conftest import Workplace

from safety_records.data import Dataset
from safety_records.eval_stages import EvalSuite, JudgeSpec
from safety_records.result import StageResult
from safety_records.sampling import Sampling
from safety_worker.artifacts.files import atomic_write_text, write_lines
from safety_worker.datasets.suites import SUITES_NAME
from safety_worker.rows import GeneratedRow, Origin, VerdictRow

SUITE = EvalSuite(name="s", dataset=Dataset(uri="file:///x"), judge="j")
JUDGE = JudgeSpec(name="j", type="refusal-phrases")
DESCRIBED = {
    "name": "s",
    "title": "",
    "licence": "",
    "origin": "file:///x",
    "digest": "sha256:1",
    "read": 20,
    "invalid": 0,
    "duplicate": 0,
    "asked": 20,
    "limit": None,
    "seed": 42,
    "sampling": Sampling().model_dump(mode="json"),
}


def measure(
    workplace: Workplace,
    name: str,
    *,
    passed: int,
    described: dict[str, Any] = DESCRIBED,
    judge: JudgeSpec = JUDGE,
    **fields: Any,
) -> StageResult:
    """The score stage over the files of 20 answers."""
    store = workplace.context.store
    generated, judged = store.output(f"{name}/generate"), store.output(f"{name}/judge")
    rows = [
        GeneratedRow(suite="s", digest=f"d{n}", prompt="p", answer="a", origin=Origin(source="s", index=n))
        for n in range(20)
    ]
    verdicts = [
        VerdictRow(suite="s", digest=f"d{n}", judge="j", safe=n < passed, passed=n < passed)
        for n in range(20)
    ]
    write_lines(generated / "rows-0.jsonl", (row.to_json() for row in rows))
    write_lines(judged / "verdicts-0.jsonl", (row.to_json() for row in verdicts))
    atomic_write_text(generated / SUITES_NAME, json.dumps([described]))
    atomic_write_text(judged / "judges.json", json.dumps([judge.model_dump(mode="json", by_alias=True)]))
    for stage in ("generate", "judge"):
        store.complete(f"{name}/{stage}", StageResult(stage=stage, inputs_hash=name))
    return workplace.run(
        "score",
        suites=[SUITE],
        generated=f"{name}/generate",
        judged=f"{name}/judge",
        out=f"{name}/score",
        inputs_hash=name,
        **fields,
    )


def test_runs_of_the_same_kind_are_compared(workplace: Workplace) -> None:
    measure(workplace, "old", passed=15)
    found = measure(workplace, "new", passed=9, baseline={"name": "old", "score": "old/score"})
    for score in found.scores:
        assert score.paired.difference == pytest.approx(-0.3)
        assert score.unpaired == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"described": DESCRIBED | {"digest": "sha256:2"}}, "another data set"),
        ({"described": DESCRIBED | {"limit": 5}}, "another draw"),
        (
            {"described": DESCRIBED | {"sampling": Sampling(temperature=0.6).model_dump(mode="json")}},
            "sampled in another way",
        ),
        ({"described": {"name": "s", "digest": "sha256:1"}}, "does not say"),
        ({"judge": JUDGE.model_copy(update={"phrases": ("no",)})}, "another judge"),
        ({"judge": JUDGE.model_copy(update={"edition": "0123456789ab"})}, "another judge"),
    ],
    ids=["data set", "draw", "sampling", "older version", "judge", "edition"],
)
def test_runs_of_another_kind_are_refused_with_the_reason(
    workplace: Workplace, change: dict[str, Any], reason: str
) -> None:
    measure(workplace, "old", passed=15, **change)
    found = measure(workplace, "new", passed=9, baseline={"name": "old", "score": "old/score"})
    assert [score.paired for score in found.scores] == [None, None]
    assert all(reason in score.unpaired for score in found.scores)
    assert all(score.value is not None for score in found.scores)


def test_scores_of_an_older_version_are_refused(workplace: Workplace) -> None:
    measure(workplace, "old", passed=15)
    (workplace.artifacts / "old/score/identity.json").write_text("[]")
    workplace.context.store.complete("old/score", StageResult(stage="score", inputs_hash="old"))
    found = measure(workplace, "new", passed=9, baseline={"name": "old", "score": "old/score"})
    assert all("does not say" in score.unpaired for score in found.scores)


def test_the_drift_against_the_run_before_is_in_the_report(workplace: Workplace) -> None:
    measure(workplace, "old", passed=15)
    measure(workplace, "new", passed=9, previous={"name": "run of monday", "score": "old/score"})
    result = report(workplace)
    assert [drift.metric for drift in result.drift] == ["contentSafety", "contentSafety.s"]
    assert result.drift[1].paired.difference == pytest.approx(-0.3)
    assert result.drift[1].paired.baseline == "run of monday"
    document = json.loads((workplace.folder("report") / "report.json").read_text())
    assert document["previous"] == "run of monday"
    assert [item["metric"] for item in document["drift"]] == ["contentSafety", "contentSafety.s"]


def test_a_report_has_the_measured_quality_of_the_phrase_judge(workplace: Workplace) -> None:
    measure(workplace, "new", passed=9)
    report(workplace)
    document = json.loads((workplace.folder("report") / "report.json").read_text())
    (judge,) = document["judges"]
    assert judge["quality"][0]["part"] == "held-out"
    assert 0 < judge["quality"][0]["precision"]["lower"] <= judge["quality"][0]["precision"]["value"] <= 1
    for name in ("report.html", "report.md"):
        text = (workplace.folder("report") / name).read_text()
        assert "that it was not tuned on: precision" in text


def test_a_report_claims_no_quality_for_phrases_of_the_users_own(workplace: Workplace) -> None:
    own = JUDGE.model_copy(update={"phrases": ("no",)})
    measure(workplace, "new", passed=9, judge=own)
    report(workplace, own)
    (judge,) = json.loads((workplace.folder("report") / "report.json").read_text())["judges"]
    assert judge["quality"] == []
    assert "is not measured" in judge["caveat"]


def test_a_run_before_that_is_gone_costs_the_drift_only(workplace: Workplace) -> None:
    found = measure(workplace, "new", passed=9, previous={"name": "run of monday", "score": "gone/score"})
    assert found.scores[1].value == pytest.approx(0.45)
    assert found.scores[1].unpaired == ""
    drift = report(workplace).drift
    assert all(item.paired is None and "cannot be read" in item.missing for item in drift)


def report(workplace: Workplace, judge: JudgeSpec = JUDGE) -> StageResult:
    return workplace.run(
        "report",
        scored="new/score",
        generated="new/generate",
        judged="new/judge",
        target_uri="x",
        target_digest="",
        suites=[SUITE],
        judges=[judge],
        scores=[],
        thresholds=[],
        verdict="Unknown",
    )
