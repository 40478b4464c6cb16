"""The numbers of the screening proof, and whether the worker's stages still take what it asks of them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.benchmarks.screening_proof import steps
from tests.benchmarks.screening_proof.measure import Scored, auc, detection, detection_table, exam_table
from tests.benchmarks.screening_proof.prompts import Prompts
from tests.benchmarks.screening_proof.sizes import SIZES
from tests.benchmarks.screening_proof.stages import Stages

from safety_records.result import Artifact, StageResult
from safety_records.stages import parse_stage_spec

HIT, MISS = True, False


@pytest.mark.parametrize(
    ("ranked", "wanted"),
    [
        ([HIT, HIT, MISS, MISS], 1.0),
        ([MISS, MISS, HIT, HIT], 0.0),
        ([HIT, MISS, HIT, MISS], 0.75),
        ([MISS, HIT, HIT, MISS], 0.5),
    ],
)
def test_the_auc_is_the_chance_that_a_hidden_row_comes_first(ranked: list[bool], wanted: float) -> None:
    assert auc(ranked) == wanted


def test_precision_is_taken_among_as_many_rows_as_are_hidden() -> None:
    found = detection(Scored([HIT, MISS, HIT, HIT] + [MISS] * 36, unscored=2))
    assert (found["found"], found["hidden"], found["rows"], found["unscored"]) == (2, 3, 40, 2)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["lower"] < 2 / 3 < found["upper"]
    assert found["byChance"] == pytest.approx(3 / 40)
    assert found["first"] == pytest.approx(3 / 20)


def test_tables_show_each_method_and_model() -> None:
    rows = {"gradient, own": detection(Scored([HIT, MISS], 0))}
    assert "| gradient, own | 1 of 1 | 100.0 % [20.7, 100.0] | 50.0 % | 50.0 % | 1.000 |" in detection_table(
        rows
    )
    score = {"value": 0.25, "lower": 0.2, "upper": 0.3, "samples": 160}
    paired = {"difference": -0.1, "lower": -0.2, "upper": 0.0, "p_value": 0.04, "pairs": 160}
    exams = {"random": {"harmbench": score | {"paired": paired}, "over-refusal": score, "hidden": 40}}
    wanted = "| random | 40 | 25.0 % [20.0, 30.0] | -10.0 [-20.0, +0.0], p = 0.04 | 25.0 % [20.0, 30.0] |"
    assert wanted in exam_table(exams)


class Recorded(Stages):
    """Stages that check their specifications and do nothing."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: dict[str, Any] = {}

    def run(self, out: str, **fields: Any) -> StageResult:
        self.asked[out] = parse_stage_spec(json.dumps(self.specification(out, fields)))
        return self.result(out)

    def result(self, out: str) -> StageResult:
        output = Artifact(uri=f"n/{out}", digest="sha256:0", bytes=1)
        return StageResult(stage="fetch", inputs_hash="h", output=output)


@contextmanager
def served(_root: Path, model: str) -> Iterator[dict[str, Any]]:
    yield {"baseUrl": "http://127.0.0.1:1/v1", "model": "model", "path": model}


@pytest.mark.parametrize("name", steps.ARMS)
def test_the_stages_still_take_what_the_steps_ask_of_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"prompt": "p", "category": "c"}
    monkeypatch.setattr(steps, "serving", served)
    monkeypatch.setattr(steps, "divide", lambda *_: Prompts(*([row] for _ in Prompts._fields)))
    monkeypatch.setattr(steps, "read_scored", lambda *_: Scored([HIT, MISS, MISS, MISS], 0))
    monkeypatch.setattr(steps.Proof, "_without_hidden", lambda _self, train: train)
    (tmp_path / "anchors.jsonl").write_text(json.dumps({"prompt": "p", "response": "r"}) + "\n")
    proof = steps.Proof(tmp_path, SIZES["tiny"])
    proof.stages = stages = Recorded(tmp_path)
    monkeypatch.setattr(
        proof, "_answered", lambda name: stages.write(f"{name}.jsonl", [row | {"response": "r"}])
    )
    proof.arm(name)
    kinds = {spec.stage for spec in stages.asked.values()}
    assert kinds == {
        *(
            "fetch",
            "collect",
            "answer",
            "judge",
            "assemble",
            "train",
            "generate",
            "anchors",
            "screen",
            "score",
        )
    }
    trained = stages.asked[f"models/{name}"]
    assert trained.model == "models/hardened"
    selection = stages.asked[f"arms/{name}-set"].selection
    assert (selection is None) == (not steps.ARMS[name].screened)
    assert selection is None or selection.top_fraction == 0.25
    assert stages.asked[f"exams/{name}/score"].baseline.score == "exams/hardened/score"
