"""Judges: refusals, classifiers, and the stage that fails closed."""

import json
import math
from collections.abc import Callable

import pytest
from tests.unit.worker.conftest import GREEDY, PHRASES, Workplace, served
from tests.unit.worker.fake_model_server import FakeModelServer, Reply

from safety_records.eval_stages import JudgeSpec
from safety_worker.errors import InputError
from safety_worker.generation.shards import read_rows
from safety_worker.judging.base import Pair, passes
from safety_worker.judging.classifier import ClassifierJudge, Predict
from safety_worker.judging.refusals import RefusalPhrases
from safety_worker.rows import Verdict, VerdictRow

judge = RefusalPhrases()


@pytest.mark.parametrize(
    ("verdict", "expect", "passed"),
    [
        (Verdict(safe=True, refused=True), "safe", True),
        (Verdict(safe=False, refused=False), "safe", False),
        (Verdict(safe=True, refused=True), "answer", False),
        (Verdict(safe=False, refused=False), "answer", True),
        (Verdict(safe=True), "answer", True),
        (Verdict(safe=False), "answer", False),
        (Verdict(safe=None, unparsed=True), "safe", False),
        (Verdict(safe=None, unparsed=True), "answer", False),
        (Verdict(safe=None), "safe", False),
    ],
)
def test_when_an_answer_passes(verdict: Verdict, expect: str, passed: bool) -> None:
    assert passes(verdict, expect) is passed


def fixed(*probabilities: float) -> Predict:
    """A classifier that gives the probabilities that a test wants."""
    return lambda _texts: list(probabilities)


def test_a_classifier_is_unsafe_from_its_threshold_on_and_unparsed_without_a_number() -> None:
    pairs = [Pair("p", "a")] * 4
    verdicts = ClassifierJudge(fixed(0.49, 0.5, math.nan, math.inf), 0.5).judge(pairs)
    assert [(v.safe, v.unparsed) for v in verdicts] == [
        (True, False),
        (False, False),
        (None, True),
        (None, True),
    ]


def test_a_classifier_that_loses_rows_is_a_defect() -> None:
    with pytest.raises(RuntimeError, match="1 probabilities for 2 texts"):
        ClassifierJudge(fixed(0.1), 0.5).judge([Pair("p", "a")] * 2)


@pytest.fixture
def generated(workplace: Workplace, suite: Callable) -> Workplace:
    replies = {
        "refused": Reply("I'm sorry, I can't help with that."),
        "answered": Reply("Sure, do this."),
        "empty": Reply("  \n "),
        "refused by the server": Reply(status=400),
        "thinking": Reply("no end", finish_reason="length"),
    }
    uri = workplace.configmap("c", "p.txt", "\n".join(replies))
    sampling = GREEDY.model_copy(update={"reasoning_end": ""})
    with FakeModelServer(lambda prompt, _: replies[prompt]) as server:
        workplace.run("generate", target=served(server.base_url), sampling=sampling, suites=[suite("s", uri)])
    return workplace


def judged(workplace: Workplace, **fields: object) -> dict[str, VerdictRow]:
    out = workplace.spec("generate", target=served("http://x/v1"), sampling=GREEDY, suites=[]).out
    workplace.run("judge", generated=out, **fields)
    prompts = {
        json.loads(line)["digest"]: json.loads(line)["prompt"]
        for line in (workplace.folder("generate") / "rows-00000.jsonl").read_text().splitlines()
    }
    rows = read_rows(workplace.folder("judge"), "verdicts", VerdictRow).values()
    return {prompts[row.digest]: row for row in rows}


@pytest.mark.parametrize("expect", ["safe", "answer"])
def test_what_cannot_be_judged_never_passes(expect: str, generated: Workplace, suite: Callable) -> None:
    verdicts = judged(generated, suites=[suite("s", "file:///x", expect=expect)], judges=[PHRASES])
    assert verdicts["refused"].passed is (expect == "safe")
    assert verdicts["answered"].passed is (expect == "answer")
    for prompt, detail in (("empty", "empty answer"), ("refused by the server", "not answered")):
        assert verdicts[prompt].unparsed
        assert not verdicts[prompt].passed
        assert verdicts[prompt].detail == detail


def test_an_unknown_judge_is_reported(generated: Workplace, suite: Callable) -> None:
    with pytest.raises(InputError, match="names the judge 'other'"):
        judged(generated, suites=[suite("s", "file:///x", judge="other")], judges=[PHRASES])


def test_a_classifier_cannot_judge_whether_benign_prompts_are_answered(
    generated: Workplace, suite: Callable
) -> None:
    classifier = JudgeSpec(name="c", type="classifier", classifier="prompt-harm-minilm")
    with pytest.raises(InputError, match="refusal-phrases"):
        judged(generated, suites=[suite("s", "file:///x", judge="c", expect="answer")], judges=[classifier])


def test_a_judge_stage_that_was_killed_continues(
    generated: Workplace, suite: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    class Dies(RefusalPhrases):
        def judge(self, pairs):
            seen.extend(pair.answer for pair in pairs)
            if len(seen) == 2:
                raise MemoryError
            return super().judge(pairs)

    monkeypatch.setattr("safety_worker.judging.runner.BATCH", 1)
    monkeypatch.setattr("safety_worker.judging.registry.RefusalPhrases", Dies)
    fields = {"suites": [suite("s", "file:///x")], "judges": [PHRASES]}
    with pytest.raises(MemoryError):
        judged(generated, **fields)
    verdicts = judged(generated, **fields)
    assert len(verdicts) == 5
    assert len(seen) == 4, "three answers, one of them judged again after the kill"
