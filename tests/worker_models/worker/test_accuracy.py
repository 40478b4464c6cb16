"""The presets gpqa-diamond, math-500 and ifeval: the real tasks of lm-eval, with questions of our own.

Only the data of a task are others (the hub cannot be reached): prompt, filters, metrics and scoring are
lm-eval's. The model's server is a fake that answers what each question says.
"""

import json
import os
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.worker.conftest import Workplace, served
from tests.unit.worker.fake_model_server import FakeModelServer, Reply

from safety_records.eval_stages import BenchmarkTask
from safety_worker.stages.benchmark import Benchmark

Answer = Callable[[str], str]


def task_file(name: str) -> Path:
    """Where lm-eval keeps a task."""
    found = find_spec("lm_eval")
    assert found is not None
    assert found.origin is not None
    paths = Path(found.origin).parent.glob(f"tasks/*/**/{name}.yaml")
    return min(paths, key=lambda path: len(path.parts))


Measure = Callable[[str, str, list[dict[str, Any]], Answer], dict[str, Any]]


@pytest.fixture
def measure(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Give the result of an exam: its task, metric, questions, and what the model says to each."""

    def run(task: str, metric: str, docs: list[dict[str, Any]], answer: Answer) -> dict[str, Any]:
        def prepare(_self: Benchmark, _entry: BenchmarkTask, scratch: Path) -> tuple[dict[str, str], str]:
            write_task(scratch, task, docs)
            return {f"own_{task}": "exam"}, ""

        monkeypatch.setattr(Benchmark, "_prepare", prepare)
        workplace.environment |= {"PATH": os.environ["PATH"]}
        entry = {"name": "exam", "tasks": [task], "metric": metric, "chat_template": True}
        with FakeModelServer(lambda prompt, _nth: Reply(answer(prompt))) as server:
            spec = {
                "target": served(server.base_url),
                "accuracy": [entry | {"generation": {"max_tokens": 999}}],
            }
            workplace.run("benchmark", **spec)
            assert {body["max_tokens"] for body in server.bodies[-len(docs) :]} == {999}
        results = json.loads((workplace.folder("benchmark") / "tasks.json").read_text(encoding="utf-8"))
        (found,) = [result for result in results["tasks"] if result["metric"] == metric or result["missing"]]
        assert found["missing"] == ""
        return dict(found)

    return run


def write_task(scratch: Path, task: str, docs: list[dict[str, Any]]) -> None:
    """A task of lm-eval with other questions."""
    path = scratch / "docs.jsonl"
    path.write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    own = {
        "include": str(task_file(task)),
        "task": f"own_{task}",
        "dataset_path": "json",
        "dataset_name": None,
    }
    files = dict.fromkeys(("train", "test"), str(path))
    (scratch / "own.yaml").write_text(yaml.safe_dump(own | {"dataset_kwargs": {"data_files": files}}))


def test_gpqa_takes_the_last_letter_in_brackets(measure: Measure) -> None:
    docs = [
        {
            "Question": f"Question {n}?",
            "Correct Answer": "right",
            **{f"Incorrect Answer {k}": f"no {k}" for k in (1, 2, 3)},
        }
        for n in range(8)
    ]

    def answer(prompt: str) -> str:
        (letter,) = re.findall(r"\(([A-D])\) right", prompt)
        wrong = next(other for other in "ABCD" if other != letter)
        if "Question 0" in prompt or "Question 1" in prompt:
            return f"At first ({letter}) looks right, but the answer is ({wrong})."
        return f"Not ({wrong}). So the answer is ({letter})."

    found = measure("gpqa_diamond_cot_zeroshot", "exact_match.flexible-extract", docs, answer)
    assert (found["value"], found["samples"], found["correct"]) == (0.75, 8, 6)


def test_math_500_takes_equal_values_in_other_words(measure: Measure) -> None:
    docs = [
        {
            "problem": f"Problem {n}",
            "solution": rf"It is $\boxed{{{value}}}$.",
            "answer": value,
            "subject": "Algebra",
        }
        for n, value in enumerate([r"\frac{1}{2}", "12", "x^2+1", "3"])
    ]
    said = [
        r"$\boxed{0.5}$",
        "The final answer is $12$. I hope it is correct.",
        r"$\boxed{1+x^2}$",
        r"$\boxed{4}$",
    ]

    def answer(prompt: str) -> str:
        return said[int(re.findall(r"Problem (\d)", prompt)[-1])]

    found = measure("minerva_math500", "math_verify", docs, answer)
    assert (found["value"], found["samples"], found["correct"]) == (0.75, 4, 3)


def test_ifeval_asks_that_every_instruction_is_followed(measure: Measure) -> None:
    docs = [
        {
            "key": n,
            "prompt": f"Prompt {n}: no commas, and end with the word done.",
            "instruction_id_list": ["punctuation:no_comma", "startend:end_checker"],
            "kwargs": [{"end_phrase": None}, {"end_phrase": "done"}],
        }
        for n in range(4)
    ]
    said = ["All well and done", "Well, done", "Well done, or not", "It is done"]

    def answer(prompt: str) -> str:
        return said[int(re.findall(r"Prompt (\d)", prompt)[-1])]

    found = measure("ifeval", "prompt_level_strict_acc", docs, answer)
    assert (found["value"], found["samples"], found["correct"]) == (0.5, 4, 2)


@pytest.mark.parametrize(
    ("pattern", "said", "right"),
    [
        ("answer is:? (.+)", {"42": "The answer is 6.\nNo: the answer is: Forty-Two."}, 4),
        ("answer is:? (.+)", {"42": "The answer is 24."}, 3),
        ("answer is:? (.+)", {"-5": "The answer is 5"}, 3),
        ("answer is:? (.+)", {"1.5": "The answer is 15"}, 3),
        ("answer is:? (.+)", {"Paris": "Paris"}, 3),
        ("", {}, 0),
        ("", {"Paris": " paris. ", "-5": "-5"}, 2),
        ("", {"Paris": "?", "-5": "-5\n\nBecause."}, 0),
    ],
)
@pytest.mark.parametrize("reasoning_end", ["", "</think>"])
def test_own_questions_with_written_answers(
    workplace: Workplace, pattern: str, said: dict[str, str], right: int, reasoning_end: str
) -> None:
    answers: dict[str, list[str] | str] = {"6 * 7?": ["42", "forty-two"], "2 - 7?": "-5", "3 / 2?": "1.5"}
    answers |= {"Capital of France?": "Paris"}
    rows = "".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in answers.items())

    def answer(prompt: str, _nth: int) -> Reply:
        if prompt not in answers:
            return Reply()
        first = answers[prompt] if isinstance(answers[prompt], str) else answers[prompt][0]
        thought = f"<think>answer is 1{reasoning_end}" if reasoning_end else ""
        return Reply(thought + said.get(str(first), f"The answer is {first}"))

    workplace.environment |= {"PATH": os.environ["PATH"]}
    entry = {
        "name": "own",
        "dataset": {"uri": workplace.configmap("own", "rows.jsonl", rows)},
        "answers": "written",
        "answer_pattern": pattern,
        "reasoning_end": reasoning_end,
        "chat_template": True,
        "generation": {"max_tokens": 99},
    }
    with FakeModelServer(answer) as server:
        workplace.run("benchmark", target=served(server.base_url), accuracy=[entry])
        assert {body["max_tokens"] for body in server.bodies[-4:]} == {99}
        assert not any(body.get("stop") for body in server.bodies)
    results = json.loads((workplace.folder("benchmark") / "tasks.json").read_text(encoding="utf-8"))
    (found,) = results["tasks"]
    assert (found["metric"], found["correct"], found["samples"]) == ("exact_match", right, 4)


def test_thoughts_that_never_end_are_no_answer(workplace: Workplace) -> None:
    rows = "".join(json.dumps({"question": f"{n} + 1?", "answer": str(n + 1)}) + "\n" for n in range(24))
    said = {f"{n} + 1?": f"<think>Hm.</think>= {n + 1}" for n in range(24)}
    said |= {"1 + 1?": "<think>First = 2, but", "2 + 1?": "= 3"}
    workplace.environment |= {"PATH": os.environ["PATH"]}
    entry = {
        "name": "own",
        "dataset": {"uri": workplace.configmap("own", "rows.jsonl", rows)},
        "answers": "written",
        "answer_pattern": "= (.+?)\\b",
        "reasoning_end": "</think>",
        "chat_template": True,
    }
    with FakeModelServer(lambda prompt, _: Reply(said.get(prompt, "ok"))) as server:
        workplace.run("benchmark", target=served(server.base_url), accuracy=[entry])
    results = json.loads((workplace.folder("benchmark") / "tasks.json").read_text(encoding="utf-8"))
    (found,) = results["tasks"]
    assert (found["correct"], found["samples"], found["missing"]) == (22, 24, "")
