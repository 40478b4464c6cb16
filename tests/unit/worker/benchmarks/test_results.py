"""What is read from lm-eval's result files."""

import json
from pathlib import Path
from typing import Any

import pytest

from safety_worker.benchmarks.results import has_no_text, read_task


def write(folder: Path, answers: list[str]) -> None:
    samples = [
        {"doc_hash": str(n), "resps": [[answer]], "filter": "none", "acc": 0.0}
        for n, answer in enumerate(answers)
    ]
    results = {"results": {"t": {"acc,none": 0.0}}, "n-samples": {"t": {"effective": len(answers)}}}
    (folder / "results_1.json").write_text(json.dumps(results))
    (folder / "samples_t_1.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))


def test_answers_without_any_text_are_missing_and_not_wrong(tmp_path: Path) -> None:
    write(tmp_path, ["", "", ""])
    (result,) = read_task(tmp_path, "t", "exam").results
    assert result.value is None
    assert result.missing == "the server's answers held no text that lm-eval could read"
    assert result.samples == 3


def test_an_empty_answer_among_others_is_a_wrong_one(tmp_path: Path) -> None:
    write(tmp_path, ["", "no", ""])
    (result,) = read_task(tmp_path, "t", "exam").results
    assert (result.value, result.correct, result.missing) == (0.0, 0, "")


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"resps": [[""]]}, True),
        ({"resps": [["", ""], [""]]}, True),
        ({"resps": [["", "x"]]}, False),
        ({"resps": [[["-1.5", "False"]]]}, False),
        ({"resps": []}, False),
        ({}, False),
    ],
)
def test_log_likelihoods_and_absent_answers_are_no_empty_texts(
    record: dict[str, Any], expected: bool
) -> None:
    assert has_no_text(record) is expected


def test_a_limit_takes_the_first_questions_of_a_task_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, ["yes", "no"])
    path = tmp_path / "results_1.json"
    results = json.loads(path.read_text())
    results["n-samples"]["t"]["original"] = 198
    path.write_text(json.dumps(results))
    (result,) = read_task(tmp_path, "t", "exam").results
    assert result.drawn == "the first 2 of 198"
