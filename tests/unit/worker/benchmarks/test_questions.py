"""Questions of one's own."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from safety_records.measures import AnswerKind
from safety_worker.benchmarks.questions import (
    AROUND,
    TaskQuestion,
    draw_questions,
    find_answer,
    read_questions,
    write_task,
)
from safety_worker.datasets.readers import RawRecord, read_file
from safety_worker.errors import InputError

GOOD = {"question": "Capital of France?", "choices": ["Rome", "Paris"], "answer": 1}


def records(*values: Any) -> list[RawRecord]:
    return [RawRecord(number, number + 1, value) for number, value in enumerate(values)]


def questions(count: int) -> list[TaskQuestion]:
    return read_questions(
        records(*({**GOOD, "question": f"TaskQuestion {n}?"} for n in range(count))), "f.jsonl"
    )


def test_a_question() -> None:
    (question,) = read_questions(records(GOOD), "f.jsonl")
    assert question[1:] == ("Capital of France?", ("Rome", "Paris"), 1, ())
    assert len(question.id) == 64


@pytest.mark.parametrize("answer", [1, "B", "b", " B ", "\uff22", "Paris"])
def test_the_answer_is_a_position_a_letter_or_a_text(answer: object) -> None:
    assert find_answer(answer, ["Rome", "Paris"]) == 1


def test_lists_that_pandas_writes_into_csv_are_lists(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("question,choices,answer\nCapital of France?,\"['Rome', 'Paris']\",B\n")
    (question,) = read_questions(read_file(path), path.name)
    assert (question.choices, question.answer) == (("Rome", "Paris"), 1)
    path.write_text("question,answer\n1 + 1?,\"['2', 'two']\"\nAn interval?,\"[0, 1]\"\nA set?,{a}\n")
    found = read_questions(read_file(path), path.name, AnswerKind.WRITTEN)
    assert [question.right for question in found] == [("2", "two"), ("[0, 1]",), ("{a}",)]


@pytest.mark.parametrize("stop", [".", "\u3002", "\u0964", "\u06d4", " \u1362 "])
def test_a_full_stop_of_any_script_is_no_part_of_an_answer(stop: str) -> None:
    text = f" 42{stop}"
    for pattern in AROUND:
        text = re.sub(pattern, "", text)
    assert text == "42"


@pytest.mark.parametrize("answer", [None, 2, -1, True, "C", "", "paris", "AB", 1.0, [1]])
def test_other_answers_name_no_choice(answer: object) -> None:
    assert find_answer(answer, ["Rome", "Paris"]) is None


def test_a_choice_that_is_a_letter_is_taken_as_text_first() -> None:
    assert find_answer("A", ["B", "A"]) == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"question": " "}, "question has to be a text"),
        ({"question": 3}, "question has to be a text"),
        ({"choices": ["one"]}, "two or more"),
        ({"choices": "ab"}, "two or more"),
        ({"choices": ["a", ""]}, "two or more"),
        ({"choices": ["a", "a"]}, "the same"),
        ({"answer": 2}, "answer has to be"),
        ({"answer": None}, "answer has to be"),
        ({"choices": "['1', '2']", "answer": "1"}, "a number may be a choice or a place"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=rf"f\.jsonl line 2: .*{problem}"):
        read_questions(records({**GOOD, "question": "Other?"}, {**GOOD, **change}), "f.jsonl")


def test_a_question_that_stands_there_twice_is_refused() -> None:
    with pytest.raises(InputError, match="DuplicateQuestion"):
        read_questions(records(GOOD, {**GOOD, "question": " Capital  of France?"}), "f.jsonl")


def test_a_draw_does_not_depend_on_the_order_and_grows() -> None:
    rows = questions(50)
    ten = draw_questions(rows, 10, 42)
    assert ten == draw_questions(rows[::-1], 10, 42)
    assert draw_questions(rows, 20, 42)[:10] == ten
    assert draw_questions(rows, 10, 7) != ten
    assert len(draw_questions(rows, None, 42)) == len(draw_questions(rows, 99, 42)) == 50


def test_the_task_is_what_lm_eval_reads(tmp_path: Path) -> None:
    rows = read_questions(records(GOOD, {**GOOD, "question": "{{7*7}} ü?"}), "f.jsonl")
    assert write_task(tmp_path, "common-knowledge.v2", rows) == "local_common_knowledge_v2"
    task = yaml.safe_load((tmp_path / "local_common_knowledge_v2.yaml").read_text(encoding="utf-8"))
    data = Path(task["dataset_kwargs"]["data_files"]["test"])
    lines = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    assert [line["question"] for line in lines] == ["Capital of France?", "{{7*7}} ü?"]
    assert (task["output_type"], task["doc_to_choice"], task["doc_to_target"]) == (
        "multiple_choice",
        "choices",
        "answer",
    )


WRITTEN = {"question": "6 * 7?", "answer": ["42", "forty-two"]}


def test_a_question_with_a_written_answer() -> None:
    first, second = read_questions(
        records(WRITTEN, {"question": "Capital of France?", "answer": "Paris"}), "f.jsonl", AnswerKind.WRITTEN
    )
    assert (first.right, first.choices) == (("42", "forty-two"), ())
    assert second.right == ("Paris",)
    assert len(first.id) == 64


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"answer": 42}, "answer has to be a text, or a list of texts"),
        ({"answer": []}, "answer has to be a text, or a list of texts"),
        ({"answer": ["42", ""]}, "answer has to be a text, or a list of texts"),
        ({"question": " "}, "question has to be a text"),
        ({}, "the same question stands there twice"),
    ],
)
def test_a_wrong_row_with_a_written_answer_is_named(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match="line 2") as caught:
        read_questions(records(WRITTEN, WRITTEN | change), "f.jsonl", AnswerKind.WRITTEN)
    assert problem in caught.value.message


@pytest.mark.parametrize(("pattern", "steps"), [("", ["take_first"]), ("= (.+)", ["regex", "take_first"])])
def test_nothing_but_the_limit_ends_a_written_answer(tmp_path: Path, pattern: str, steps: list[str]) -> None:
    rows = read_questions(records(WRITTEN), "f.jsonl", AnswerKind.WRITTEN)
    name = write_task(tmp_path, "sums", rows, pattern)
    task = yaml.safe_load((tmp_path / f"{name}.yaml").read_text(encoding="utf-8"))
    assert task["generation_kwargs"]["until"] == []
    assert task["doc_to_target"] == "right"
    (kept,) = task["filter_list"]
    assert [step["function"] for step in kept["filter"]] == steps
