"""The screen stage with a method that needs no model: ranks, tables, kills, pods."""

import json
import shutil
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.screening.blends import complete, write_answers

from safety_records.result import StageResult
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.rows import Message
from safety_worker.screening.candidates import Candidate
from safety_worker.screening.records import RowScore
from safety_worker.stages import screen as stage

ROWS = 700
"""Three windows, the last one not full."""
LIST = "Of course:\n- one\n- two"
SUM = "3 + 4 = 7"


class ByNumber:
    """Scores a row by its number; every tenth has no score."""

    def __init__(self, method: str, sign: int = 1) -> None:
        self.method, self.sign = method, sign
        self.windows = 0

    def score(self, rows: Sequence[Candidate]) -> list[RowScore]:
        self.windows += 1
        return [self._one(int(row.prompt.split()[1])) for row in rows]

    def _one(self, number: int) -> RowScore:
        if number % 10 == 0:
            return RowScore(None, tokens=5000, missing="too-long")
        return RowScore(self.sign * (number % 350) / 350, "harmful/1", 0.5, 12)


class Screen:
    def __init__(self, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workplace = workplace
        self.scorers: list[Any] = [ByNumber("representation")]
        self.anchors: Any = None
        rows = [
            (f"question {n} w", LIST if n > 600 else SUM if n > 500 else f"answer {n}") for n in range(ROWS)
        ]
        self.fields = write_answers(workplace.artifacts, rows, rejected=[7])
        self.anchor = {"dataset": self._anchor_file("a", ("do harm", "Sure, do this")), "limit": 3}
        monkeypatch.setattr(stage, "load", self._load)
        self.read()

    def _anchor_file(self, name: str, *pairs: tuple[str, str]) -> dict[str, Any]:
        lines = "".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in pairs)
        uri = self.workplace.configmap("anchors", f"{name}.jsonl", lines)
        return {"uri": uri, "columns": {"response": "response"}}

    def _load(self, target: str) -> Any:
        assert target == "safety_worker.screening.scorers:build_scorers"

        def build(spec: Any, context: Any, anchors: Any, pool: Any, say: Any) -> list[Any]:
            self.anchors = anchors
            return self.scorers

        return build

    def run(self, out: str = "screen", **fields: Any) -> StageResult:
        methods = [scorer.method for scorer in self.scorers]
        spec = {"model": "model", "methods": methods, "anchors": "anchors"}
        return self.workplace.run("screen", out=out, **{**spec, **self.fields, **fields})

    def read(self, **fields: Any) -> StageResult:
        """Run the anchors stage."""
        folder = self.workplace.artifacts / "anchors"
        shutil.rmtree(folder, ignore_errors=True)
        sets = {"harmful": self.anchor, "safe": [self.anchor], **fields}
        return self.workplace.run("anchors", out="anchors", **sets)

    def table(self, out: str = "screen") -> list[dict[str, Any]]:
        return pq.read_table(self.workplace.artifacts / out / "scores.parquet").to_pylist()

    def summary(self, out: str = "screen") -> dict[str, Any]:
        return json.loads((self.workplace.artifacts / out / "screening.json").read_text())


@pytest.fixture
def screen(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Screen:
    return Screen(workplace, monkeypatch)


def test_every_row_that_judges_pass_has_a_line_with_score_and_rank_or_the_reason(screen: Screen) -> None:
    result = screen.run()
    table = screen.table()
    assert len(table) == result.rows == ROWS - 1
    scored = [row for row in table if row["score"] is not None]
    assert result.screening.model_dump() == {
        "method": "representation",
        "scored": len(scored),
        "unscored": 70,
        "layer": None,
        "selected": None,
        "cut": None,
    }
    ranked = sorted(scored, key=lambda row: row["rank"])
    assert [row["rank"] for row in ranked] == list(range(1, len(scored) + 1))
    keys = [(-row["score"], row["digest"]) for row in ranked]
    assert keys == sorted(keys), "equal scores are ranked by digest"
    assert {row["missing"] for row in table if row["score"] is None} == {"too-long"}
    assert {row["rank"] for row in table if row["score"] is None} == {None}
    assert {row["source"] for row in table} == {"benign"}
    assert 7 not in {row["index"] for row in table}


def test_the_summary_has_what_a_report_shows(screen: Screen) -> None:
    screen.scorers.append(ByNumber("larf", -1))
    screen.run()
    summary = screen.summary()
    first, second = summary["methods"]
    assert sum(first["histogram"]["counts"]) == first["scored"]
    assert first["quantiles"]["1.0"] == max(
        row["score"] for row in screen.table() if row["score"] is not None
    )
    assert first["missing"] == {"too-long": 70}
    assert [row["rank"] for row in first["top"]] == list(range(1, 101))
    assert first["top"][0]["prompt"].startswith("question ")
    assert first["shares"]["top"]["list"] > first["shares"]["all"]["list"] > 0
    assert first["shares"]["all"]["maths"] > 0
    assert first["shares"]["random"]["rows"] == 100
    (overlap,) = summary["overlaps"]
    assert (overlap["top"], overlap["common"]) == (100, 0)
    assert overlap["byChance"] == pytest.approx(100 * 100 / first["scored"])
    assert second["method"] == "larf"


def test_killed_at_any_window_and_with_any_number_of_pods_the_digest_is_the_same(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = screen.run("whole")
    scorer = screen.scorers[0]
    original = ByNumber.score
    for survived in range(3):
        left = survived

        def dies(self: ByNumber, rows: Sequence[Candidate]) -> list[RowScore]:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return original(self, rows)

        monkeypatch.setattr(ByNumber, "score", dies)
        with pytest.raises(KeyboardInterrupt):
            screen.run(f"killed-{survived}")
        monkeypatch.setattr(ByNumber, "score", original)
        scorer.windows = 0
        assert screen.run(f"killed-{survived}").output.digest == whole.output.digest
        assert scorer.windows == 3 - survived, "finished windows are not scored again"
    screen.workplace.environment["JOB_COMPLETION_INDEX"] = "1"
    for shards in (2, 5):
        assert screen.run(f"of-{shards}", shards=shards).output.digest == whole.output.digest


def test_a_pod_that_comes_when_all_is_scored_loads_no_model(screen: Screen) -> None:
    screen.run()
    for name in ("manifest.json", "result.json", "scores.parquet", "screening.json"):
        (screen.workplace.artifacts / "screen" / name).unlink()
    screen.scorers[0].windows = 0
    screen.run()
    assert screen.scorers[0].windows == 0


def test_pods_have_to_know_their_number(screen: Screen) -> None:
    with pytest.raises(InfrastructureError, match="JOB_COMPLETION_INDEX"):
        screen.run(shards=2)


def test_anchors_are_the_first_examples_of_their_files(screen: Screen) -> None:
    own = screen._anchor_file("many", *((f"p {n}", f"r {n}") for n in range(5)))
    assert screen.read(harmful={"dataset": own, "limit": 3}).rows == 4
    screen.run()
    assert [anchor.name for anchor in screen.anchors.harmful] == ["harmful/0", "harmful/1", "harmful/2"]
    last = screen.anchors.harmful[2]
    assert (last.prompt, last.answer, last.context) == ("p 2", "r 2", ())
    assert [anchor.name for anchor in screen.anchors.safe[0]] == ["safe-0/0"]


def test_anchors_may_be_whole_conversations(screen: Screen) -> None:
    turns = [("system", "Be kind."), ("user", "how?"), ("assistant", "so")]
    line = json.dumps({"turns": [{"role": role, "content": text} for role, text in turns]})
    uri = screen.workplace.configmap("anchors", "conversations.jsonl", line + "\n")
    screen.read(harmful={"dataset": {"uri": uri, "columns": {"messages": "turns"}}})
    screen.run()
    (anchor,) = screen.anchors.harmful
    assert (anchor.prompt, anchor.answer) == ("how?", "so")
    assert anchor.context == (Message(role="system", content="Be kind."),)


@pytest.mark.parametrize(
    ("lines", "columns", "reason"),
    [
        ("", {"response": "response"}, "EmptyAnchors"),
        ('{"prompt": "p", "response": ""}\n', {"response": "response"}, "AnchorWithoutResponse"),
        ('{"prompt": "p", "response": 3}\n', {"response": "response"}, "TooManyInvalidRows"),
        ('{"prompt": "p", "response": "r"}\n', {}, "NoResponseColumn"),
        ('{"prompt": "p", "answer": "r"}\n', {"response": "response"}, "MissingColumn"),
    ],
)
def test_anchors_that_are_of_no_use_are_refused(
    lines: str, columns: dict[str, str], reason: str, screen: Screen
) -> None:
    uri = screen.workplace.configmap("anchors", "bad.jsonl", lines)
    bad = {"dataset": {"uri": uri, "columns": columns}}
    for fields in ({"harmful": bad}, {"safe": [screen.anchor, bad]}):
        with pytest.raises(InputError) as caught:
            screen.read(**fields)
        assert caught.value.reason == reason


def test_prompts_for_finding_the_layer_are_read_with_the_anchors(screen: Screen) -> None:
    uri = screen.workplace.configmap("anchors", "layer.txt", "one\ntwo\n")
    screen.read(layer_prompts={"uri": uri})
    screen.run()
    assert screen.anchors.layer_prompts == ("one", "two")
    empty = screen.workplace.configmap("anchors", "none.txt", "\n")
    with pytest.raises(InputError, match=r"screening\.layerPrompts: there is no prompt in it"):
        screen.read(layer_prompts={"uri": empty})


def test_the_same_anchors_have_the_same_digest_and_others_another(screen: Screen) -> None:
    first, again = screen.read().output, screen.read().output
    other = screen.read(safe=[{"dataset": screen._anchor_file("b", ("p", "No.")), "limit": 3}]).output
    assert first.digest == again.digest != other.digest


def test_anchors_that_changed_since_they_were_read_are_noticed(screen: Screen) -> None:
    path = screen.workplace.artifacts / "anchors/anchors.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(InfrastructureError, match="anchors/anchors"):
        screen.run()


def test_a_blend_without_a_row_to_screen_says_so(screen: Screen) -> None:
    with pytest.raises(InputError, match=r"no row of safety .* screening\.rows"):
        screen.run(parts=["safety"])


def test_scores_that_all_are_missing_are_no_result(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ByNumber, "_one", lambda self, number: RowScore(None, missing="not-finite"))
    with pytest.raises(InputError, match="not one row has a score"):
        screen.run()


def test_an_answer_stage_that_changed_under_it_is_noticed(screen: Screen) -> None:
    path = screen.workplace.artifacts / "answer/rows-00000.jsonl"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(InfrastructureError, match="answer/rows-00000"):
        screen.run()
    complete(screen.workplace.artifacts / "answer")


def test_a_full_memory_ends_the_stage_with_what_helps(screen: Screen) -> None:
    class Full(ByNumber):
        def score(self, rows: Sequence[Candidate]) -> list[RowScore]:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    screen.scorers = [Full("representation")]
    with pytest.raises(InputError, match=r"OutOfMemory: screening: .*resources.limits.memory"):
        screen.run()
