"""Rows that screening takes out of a blend, or marks."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.unit.worker.support.blend_runs import (
    Blend,
    refuses_when_told,
)

from safety_records.result import StageResult
from safety_worker.screening.records import RowScore
from safety_worker.stages import screen as screening


def screened_by_number(self: Any, rows: Any) -> list[RowScore]:
    """The higher the number in the prompt the worse; question 11 cannot be scored."""
    numbers = [int(row.prompt.split()[-1]) for row in rows]
    return [
        RowScore(None, missing="too-long") if n == 11 else RowScore(n / 100, "harmful/0") for n in numbers
    ]


@pytest.fixture
def screened(blend: Blend, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StageResult]:
    """Collect, answer, judge, screen with a method that needs no model, assemble."""
    scorer = type("ByNumber", (), {"method": "larf", "score": screened_by_number})()
    monkeypatch.setattr(screening, "load", lambda _target: lambda *_: [scorer])

    def run(**selection: Any) -> StageResult:
        blend.collect()
        blend.rest(refuses_when_told)
        monkeypatch.setattr(screening, "load_anchors", lambda *_: None)
        paths = {"answered": "demo/safetyeval/base/run/answer", "judged": "demo/safetyeval/base/run/judge"}
        blend.workplace.run("screen", model="m", methods=["larf"], anchors="none", **paths)
        out = f"demo/safetyeval/base/run/{selection.pop('out', 'screened')}"
        return blend.workplace.run(
            "assemble",
            collected="demo/safetyeval/base/run/collect",
            screened="demo/safetyeval/base/run/screen",
            selection={"method": "larf", "topFraction": 0.25, **selection},
            out=out,
            **paths,
        )

    return run


def fates_of(blend: Blend, out: str = "screened") -> list[dict[str, Any]]:
    path = blend.workplace.artifacts / f"demo/safetyeval/base/run/{out}/rows.parquet"
    return [row for row in pq.read_table(path).to_pylist() if row["part"] == "retain"]


def test_screened_rows_are_left_out_and_counted(blend: Blend, screened: Callable[..., StageResult]) -> None:
    result = screened()
    fates = fates_of(blend)
    taken = {row["prompt"] for row in fates if row["fate"] == "screened"}
    assert taken == {"question 12", "question 13", "question 14"}
    assert [row["prompt"] for row in fates if row["fate"] == "unscored"] == ["question 11"]
    counts = {c.source: c for c in result.counts}
    assert (counts["benign"].screened, counts["red"].screened) == (4, 0)
    assert counts["benign"].kept == counts["benign"].sampled - 4 - counts["benign"].unsafe
    assert result.screening.model_dump() == {
        "method": "larf",
        "scored": 13,
        "unscored": 1,
        "layer": None,
        "selected": 4,
        "cut": 0.12,
    }
    first = next(row for row in fates if row["prompt"] == "question 14")
    assert (first["rank"], first["score"], first["nearest"], first["flagged"]) == (1, 0.14, "harmful/0", True)
    folder = blend.workplace.folder("screened")
    trained = (folder / "train.jsonl").read_text() + (folder / "validation.jsonl").read_text()
    assert not any(f'"{prompt}"' in trained for prompt in (*taken, "question 11"))
    card = (folder / "README.md").read_text()
    assert "Method larf" in card
    assert "rows left out: 4, of them 1 that could not be scored" in card
    assert json.loads((folder / "lineage.json").read_text())["screen"].startswith("sha256:")
    page = (folder / "blend.html").read_text()
    assert '<h2 id="screening">' in page
    assert "question 14" in page
    assert 'class="bound"' in page


def test_flagged_rows_stay(blend: Blend, screened: Callable[..., StageResult]) -> None:
    result = screened(action="flag", topFraction=None, threshold=0.13)
    fates = fates_of(blend)
    flagged = {row["prompt"] for row in fates if row["flagged"]}
    assert flagged == {"question 11", "question 13", "question 14"}
    assert {row["fate"] for row in fates if row["prompt"] in flagged} == {"kept"}
    assert sum(c.screened for c in result.counts) == 0
    assert result.screening.selected == 3


def test_the_random_control_takes_as_many_rows_but_others(
    blend: Blend, screened: Callable[..., StageResult]
) -> None:
    top = screened()
    control = screened(select="random", seed=1, out="control")
    assert control.screening.selected == top.screening.selected
    assert control.rows == top.rows

    def taken(out: str) -> set[str]:
        return {row["prompt"] for row in fates_of(blend, out) if row["fate"] == "screened"}

    assert len(taken("control")) == len(taken("screened"))
    assert taken("control") != taken("screened")
    card = (blend.workplace.folder("control") / "README.md").read_text()
    assert "at random" in card
