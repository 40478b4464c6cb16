"""What is read from lm-eval's result files, in the form of lm-eval 0.4.13."""

import json
from pathlib import Path
from typing import Any

import pytest

from safety_worker.benchmarks.results import TaskOutput, answer_texts, read_task

TIME = "2026-11-29T19-36-56.684396"


class Written:
    """A folder as lm-eval leaves it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "model"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.content: dict[str, Any] = {
            "results": {},
            "group_subtasks": {},
            "n-samples": {},
            "versions": {},
            "configs": {},
        }

    def task(self, name: str, right: list[float], *, time: str = TIME, **record: Any) -> "Written":
        """A task with one record a question."""
        rows = [
            {"doc_id": n, "doc": {}, "doc_hash": f"h{n}", "filter": "none", "acc": value, **record}
            for n, value in enumerate(right)
        ]
        path = self.folder / f"samples_{name}_{time}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        value = sum(right) / len(right)
        self.content["results"][name] = {"alias": name, "name": name, "acc,none": value}
        self.content["n-samples"][name] = {"original": len(right), "effective": len(right)}
        self.content["versions"][name] = 1
        self.content["configs"][name] = {"generation_kwargs": {"until": ["\n"]}}
        return self

    def group(self, name: str, children: list[str], value: float | None = None) -> "Written":
        own = {} if value is None else {"acc,none": value, "acc_stderr,none": 0.1}
        self.content["results"][name] = {"alias": name, "name": name, **own}
        self.content["group_subtasks"][name] = children
        return self

    def read(self, *names: str, metric: str = "") -> dict[str, TaskOutput]:
        (self.folder / f"results_{TIME}.json").write_text(json.dumps(self.content), encoding="utf-8")
        return {
            name: read_task(
                self.folder.parent, name, f"e.{name}", metric, others=set(names) - {name}, under="e"
            )
            for name in names
        }


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def write_answers(written: Written, answers: list[str]) -> TaskOutput:
    written.task("t", [0.0] * len(answers))
    path = written.folder / f"samples_t_{TIME}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text(
        "".join(
            json.dumps(row | {"resps": [[answer]], "filter": kind, "acc": 0.0}) + "\n"
            for row, answer in zip(rows, answers, strict=True)
            for kind in ("none", "strict")
        ),
        encoding="utf-8",
    )
    return written.read("t")["t"]


@pytest.mark.parametrize("silent", ["", " \n", "<think>The question is", "</think>", "<|im_end|>", "\u200b"])
def test_answers_without_text_are_missing_and_not_wrong(written: Written, silent: str) -> None:
    (result,) = write_answers(written, [silent] * 9 + ["no"]).results
    assert (result.value, result.samples) == (None, 10)
    assert result.missing.startswith("9 of 10 answers hold no text (9 ")
    assert "generation.maxTokens" in result.missing
    assert len(result.missing) <= 200


def test_a_few_answers_without_text_are_wrong_ones(written: Written) -> None:
    (result,) = write_answers(written, [""] + ["no"] * 9).results
    assert (result.value, result.correct, result.missing) == (0.0, 0, "")


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"resps": [[""]]}, [""]),
        ({"resps": [["", "x"], [""]]}, ["", "x", ""]),
        ({"resps": [[["-1.5", "False"]]]}, []),
        ({"resps": []}, []),
        ({"resps": None}, []),
        ({}, []),
    ],
)
def test_log_likelihoods_and_absent_answers_are_no_empty_texts(
    record: dict[str, Any], expected: list[str]
) -> None:
    assert answer_texts(record) == expected


def test_a_limit_takes_the_first_questions_of_a_task_and_says_so(written: Written) -> None:
    written.task("t", [1.0, 0.0])
    written.content["n-samples"]["t"]["original"] = 198
    (result,) = written.read("t")["t"].results
    assert result.drawn == "the first 2 of 198"


@pytest.mark.parametrize(
    ("name", "longer"),
    [
        ("exam", "exam_cot"),
        ("exam", "exam_2026"),
        ("math[easy]", "math[easy]_2"),
        ("arabic_language_(general)", "arabic_language_(general)_x"),
        ("arc", "arc_arc"),
        ("ta?k", "task"),
        ("v@2", "v@2_v@3"),
    ],
)
def test_a_name_is_matched_whole(written: Written, name: str, longer: str) -> None:
    written.task(name, [1.0, 1.0, 0.0]).task(longer, [0.0] * 5)
    found = written.read(name, longer)
    assert [(len(output.samples), output.results[0].correct) for output in found.values()] == [(3, 2), (5, 0)]


def test_the_same_task_of_an_earlier_run_or_another_model_is_not_read(written: Written) -> None:
    other = Written(written.folder.parent / "other")
    other.task("exam", [0.0] * 7, time="2020-01-01T00-00-00.000001")
    (other.folder / "results_2020-01-01T00-00-00.000001.json").write_text(json.dumps(other.content))
    written.task("exam", [0.0] * 7, time="2027-01-01T00-00-00.000001").task("exam", [1.0, 1.0])
    assert written.read("exam")["exam"].results[0].correct == 2


def test_a_group_has_its_own_aggregate_and_the_questions_of_all_its_tasks(written: Written) -> None:
    """The tasks' questions may have the same hash: they are told apart by their task."""
    written.task("g_one", [1.0, 1.0, 0.0]).task("g_two", [0.0] * 6 + [1.0])
    output = written.group("g", ["g_one", "g_two"], 0.3).read("g")["g"]
    (result,) = output.results
    assert (result.value, result.samples, result.correct) == (0.3, 10, 3)
    assert len({sample.id for sample in output.samples}) == 10
    assert output.samples[0].id == "g_one/h0"


def test_a_group_of_groups_has_the_questions_of_all_that_is_below(written: Written) -> None:
    written.task("a", [1.0, 0.0]).task("b", [1.0]).task("c", [0.0])
    written.group("inner", ["b", "c"], 0.5).group("outer", ["a", "inner", "b"], 0.5)
    (result,) = written.read("outer")["outer"].results
    assert (result.samples, result.correct) == (4, 2)


def test_a_group_that_weighs_its_tasks_has_no_rows_to_compare(written: Written) -> None:
    """Its mean of means is no mean over questions: maxDrop is then refused with the reason."""
    written.task("g_one", [1.0]).task("g_two", [0.0] * 9)
    output = written.group("g", ["g_one", "g_two"], 0.5).read("g")["g"]
    assert output.samples == ()
    assert (output.results[0].value, output.results[0].correct, output.results[0].samples) == (0.5, None, 10)


def test_a_group_of_another_version_of_a_task_is_another_measurement(written: Written) -> None:
    written.task("g_one", [1.0]).group("g", ["g_one"], 1.0)
    before = written.read("g")["g"].results[0].identity
    written.content["versions"]["g_one"] = 2
    after = written.read("g")["g"].results[0].identity
    assert before["task"] != after["task"]
    assert before["dataset"] == after["dataset"]


def test_a_group_without_an_aggregate_gives_what_below_it_has_a_score(written: Written) -> None:
    written.task("a", [1.0, 0.0]).task("b", [1.0]).task("c", [0.0, 0.0])
    written.group("scored", ["b"], 1.0).group("plain", ["c"]).group("board", ["a", "scored", "plain"])
    output = written.read("board")["board"]
    assert [result.name for result in output.results] == ["e.a", "e.scored", "e.c"]
    assert [len(part.samples) for part in output.each] == [2, 1, 2]


def test_a_tag_gives_the_tasks_that_nothing_else_stands_for(written: Written) -> None:
    written.task("other", [0.0]).task("in_group", [0.0]).group("g", ["in_group"], 0.0)
    written.task("one", [1.0, 1.0]).task("two", [0.0])
    found = written.read("tag", "other", "g")
    assert [result.name for result in found["tag"].results] == ["e.one", "e.two"]
    assert [result.name for result in found["other"].results] == ["e.other"]


def test_a_silent_group_is_missing_with_its_tasks_together(written: Written) -> None:
    written.task("g_one", [0.0] * 5, resps=[[""]]).task("g_two", [1.0] * 5, resps=[["yes"]])
    (result,) = written.group("g", ["g_one", "g_two"], 0.5).read("g")["g"].results
    assert result.missing.startswith("5 of 10 answers hold no text")


def test_no_run_is_missing(tmp_path: Path) -> None:
    assert read_task(tmp_path, "t", "t").results[0].missing == "lm-eval gave no result"
