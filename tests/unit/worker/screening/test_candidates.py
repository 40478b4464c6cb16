"""Which rows are screened, and how they are read."""

import json
from pathlib import Path

import pytest
from tests.unit.worker.screening.blends import write_answers
from tests.unit.worker.support.stage_settings import choosing_rule

from safety_worker.blending.chosen import stream_candidates
from safety_worker.errors import InfrastructureError
from safety_worker.rows import Message
from safety_worker.screening.candidates import WindowReader

ROWS = [(f"question {n}", f"answer {n}.") for n in range(40)]


def read(root: Path, parts: tuple[str, ...] = ("retain",)) -> list:
    return list(stream_candidates(root / "answer", root / "judge", choosing_rule(1), parts))


def test_rows_that_judges_pass_come_in_the_order_of_their_digests(tmp_path: Path) -> None:
    write_answers(tmp_path, ROWS, rejected=[3, 5])
    found = read(tmp_path)
    assert len(found) == 38
    assert [row.digest for row in found] == sorted(row.digest for row in found)
    assert {row.prompt for row in found}.isdisjoint({"question 3", "question 5"})
    assert found[0].answer.removeprefix("answer ") == found[0].prompt.removeprefix("question ") + "."
    assert {row.origin.source for row in found} == {"benign"}


def test_a_row_without_a_verdict_is_none(tmp_path: Path) -> None:
    write_answers(tmp_path, ROWS)
    path = tmp_path / "judge/verdicts-00000.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[1:]))
    assert len(read(tmp_path)) == 39


def test_only_the_parts_that_are_asked_for_are_read(tmp_path: Path) -> None:
    write_answers(tmp_path, ROWS, part="safety")
    assert read(tmp_path) == []
    assert len(read(tmp_path, ("retain", "safety"))) == 40


def test_a_row_comes_with_its_system_prompt_and_earlier_turns(tmp_path: Path) -> None:
    write_answers(tmp_path, ROWS)
    path = tmp_path / "answer/rows-00000.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["context"] = [{"role": "system", "content": "Be brief."}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read(tmp_path)
    assert found[0].context == (Message(role="system", content="Be brief."),)
    assert found[1].context == ()


def test_shards_out_of_order_are_noticed(tmp_path: Path) -> None:
    write_answers(tmp_path, ROWS)
    path = tmp_path / "answer/rows-00000.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    with pytest.raises(InfrastructureError, match="not sorted"):
        read(tmp_path)


def test_a_row_split_over_shards_is_one_row(tmp_path: Path) -> None:
    write_answers(tmp_path, ROWS)
    path = tmp_path / "answer/rows-00000.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    second = json.loads(lines[10]) | {"candidate": 1, "answer": "another"}
    path.write_text("".join(lines[:11]))
    (tmp_path / "answer/rows-00001.jsonl").write_text(json.dumps(second) + "\n" + "".join(lines[11:]))
    found = read(tmp_path)
    assert len(found) == 40
    assert "another" not in {row.answer for row in found}


def test_windows_are_the_same_in_whatever_order_they_are_read(tmp_path: Path) -> None:
    write_answers(tmp_path, ROWS)
    opened = []

    def start():
        opened.append(1)
        return iter(read(tmp_path))

    reader = WindowReader(start, 7)
    forward = [reader.read(number) for number in range(6)]
    assert len(opened) == 1
    assert [len(window) for window in forward] == [7, 7, 7, 7, 7, 5]
    assert [reader.read(number) for number in (5, 2, 4, 0)] == [forward[n] for n in (5, 2, 4, 0)]
    assert reader.read(6) == []
