"""Questions of one's own as an lm-eval task.

A row with choices has ``question``, ``choices`` (two or more texts) and ``answer``: the right choice's
position from 0, its letter, or its text. The model is asked which choice it finds most likely after the
question, so that a small model is not judged by how it formats an answer. For written answers a row has
``question`` and ``answer``, a text or a list of texts that are right.
"""

import json
import string
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from safety_records.measures import AnswerKind
from safety_worker.datasets.categories import literal_of
from safety_worker.datasets.cells import CellError
from safety_worker.datasets.readers import RawRecord
from safety_worker.errors import InputError
from safety_worker.rows import row_digest, seeded_order
from safety_worker.text import normal_form

METRIC = "acc"
"""Share of questions whose most likely choice is the right one."""

WRITTEN_METRIC = "exact_match"
"""Share of questions whose written answer is a right one."""

AROUND = (r"^\s+", r"\s*[.\u0589\u06d4\u0964\u104b\u1362\u17d4\u3002\uff0e\uff61]?\s*$")
"""What does not count around an answer, a full stop of any script with it; its case does not either."""


COLUMNS = ("question", "choices", "answer")
"""Columns that are read."""


class TaskQuestion(NamedTuple):
    """One row."""

    id: str
    """sha256 over question and choices, in their normal form."""
    question: str
    choices: tuple[str, ...]
    """Empty where the model writes."""
    answer: int
    """Position of the right choice."""
    right: tuple[str, ...] = ()
    """Texts that are right, where the model writes."""


def read_questions(
    records: Iterable[RawRecord], file: str, answers: AnswerKind = AnswerKind.CHOICE
) -> list[TaskQuestion]:
    """All questions of a file.

    Raises
    ------
    InputError
        At the first row that is no question, or that stands there twice: a benchmark with holes is none.
    """
    questions: dict[str, TaskQuestion] = {}
    for record in records:
        place = f"{file} line {record.line}" if record.line else f"{file} row {record.index}"
        written = answers is AnswerKind.WRITTEN
        problem = record.problem or (find_written_problem if written else find_question_problem)(record.value)
        if problem:
            raise InputError("InvalidQuestion", f"{place}: {problem}")
        question = build_written(record.value) if written else build_question(record.value)
        if question.id in questions:
            what = "question stands" if written else "question and choices stand"
            raise InputError("DuplicateQuestion", f"{place}: the same {what} there twice")
        questions[question.id] = question
    return list(questions.values())


def find_question_problem(value: dict[str, Any]) -> str:
    """Why a row is no question; empty if it is one."""
    question, choices = value.get("question"), _choices(value)
    if not isinstance(question, str) or not question.strip():
        return "question has to be a text"
    if not isinstance(choices, list) or len(choices) < 2 or not all(map(_is_text, choices)):  # noqa: PLR2004
        return "choices has to be a list of two or more texts"
    if len(set(choices)) < len(choices):
        return "two choices are the same"
    answer = value.get("answer")
    if isinstance(value["choices"], str) and isinstance(answer, str) and answer.strip().isdecimal():
        return "answer has to be a letter or a text, as choices are one: a number may be a choice or a place"
    if find_answer(answer, choices) is None:
        return "answer has to be a choice's position from 0, its letter, or its text"
    return ""


def find_written_problem(value: dict[str, Any]) -> str:
    """Why a row is no question with a written answer; empty if it is one."""
    question, right = value.get("question"), _listed(value.get("answer"))
    if not isinstance(question, str) or not question.strip():
        return "question has to be a text"
    if not right or not all(map(_is_text, right)):
        return "answer has to be a text, or a list of texts"
    return ""


def build_written(value: dict[str, Any]) -> TaskQuestion:
    """A question with a written answer from a row without problem."""
    text = value["question"]
    return TaskQuestion(row_digest(text, ""), text, (), 0, tuple(_listed(value["answer"])))


def _listed(answer: object) -> list[Any]:
    found = _unwritten(answer)
    return found if isinstance(found, list) else [found]


def _choices(value: dict[str, Any]) -> Any:
    return _unwritten(value.get("choices"))


def _unwritten(cell: object) -> Any:
    """A list that is written as a text, as pandas writes it into CSV; anything else as it is.

    A list of numbers stays a text: it may be an interval, or a vector.
    """
    if not isinstance(cell, str) or cell.strip()[:2] not in {"['", '["'}:
        return cell
    with suppress(CellError):
        listed = literal_of(cell)
        return listed if isinstance(listed, list) and all(map(_is_text, listed)) else cell
    return cell


def find_answer(answer: object, choices: Sequence[str]) -> int | None:
    """Position of the right choice; None if the answer names none."""
    if isinstance(answer, str):
        if answer in choices:
            return choices.index(answer)
        letter = normal_form(answer).upper()
        answer = string.ascii_uppercase.find(letter) if len(letter) == 1 else None
    if not isinstance(answer, int) or isinstance(answer, bool):
        return None
    return answer if 0 <= answer < len(choices) else None


def build_question(value: dict[str, Any]) -> TaskQuestion:
    """A question from a row without problem."""
    choices = tuple(_choices(value))
    answer = find_answer(value["answer"], choices)
    assert answer is not None
    return TaskQuestion(row_digest(value["question"], "\n".join(choices)), value["question"], choices, answer)


def draw_questions(questions: list[TaskQuestion], limit: int | None, seed: int) -> list[TaskQuestion]:
    """At most ``limit`` questions, by a seeded draw that does not depend on the file's order."""
    ordered = sorted(questions, key=lambda question: seeded_order(seed, question.id))
    return ordered[:limit]


def write_task(folder: Path, name: str, questions: list[TaskQuestion], pattern: str = "") -> str:
    """Write the task's YAML and its rows; returns the task's name.

    ``pattern``: where the answer is in what the model wrote; empty: it is the whole text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task = f"local_{name.replace('-', '_').replace('.', '_')}"
    rows = folder / f"{task}.jsonl"
    rows.write_text(
        "".join(json.dumps(question._asdict()) + "\n" for question in questions), encoding="utf-8"
    )
    description = {
        "task": task,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "test_split": "test",
        "fewshot_split": "test",
        **(_written(pattern) if questions[0].right else _CHOICES),
        "metadata": {"version": 1},
    }
    (folder / f"{task}.yaml").write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    return task


_CHOICES = {
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "choices",
    "doc_to_target": "answer",
    "metric_list": [{"metric": METRIC, "aggregation": "mean", "higher_is_better": True}],
}


def _written(pattern: str) -> dict[str, Any]:
    """What a task with written answers has of its own; nothing but the limit ends an answer."""
    last = {"function": "regex", "regex_pattern": pattern, "group_select": -1}
    steps = [*([last] if pattern else []), {"function": "take_first"}]
    metric = {
        "metric": WRITTEN_METRIC,
        "aggregation": "mean",
        "higher_is_better": True,
        "ignore_case": True,
        "regexes_to_ignore": list(AROUND),
    }
    return {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "right",
        "generation_kwargs": {"until": [], "do_sample": False, "temperature": 0.0},
        "filter_list": [{"name": "none", "filter": steps}],
        "metric_list": [metric],
    }


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
