"""Scores from files of other stages: what counts, what is missing and why."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.conftest import Workplace

from safety_records.data import Dataset
from safety_records.eval_stages import EvalSuite, JudgeSpec
from safety_records.report import ReportAccuracy
from safety_records.result import MAX_RESULT_BYTES, Score, StageResult
from safety_worker.errors import InfrastructureError
from safety_worker.reporting.accuracy import accuracy_scores, read_accuracy_samples
from safety_worker.reporting.content import Baseline, content_scores
from safety_worker.reporting.identity import accuracy_identities
from safety_worker.reporting.samples import Sample, judge_hash, read_samples, write_samples
from safety_worker.reporting.tool_results import (
    Probes,
    accuracy_metric,
    attempts_interval,
    read_probes,
    security_scores,
)
from safety_worker.statistics import wilson
from safety_worker.termination import fit


def probe(name: str, passed: int = 8, total: int = 10, **fields: Any) -> dict[str, Any]:
    base = {"probe": name, "detector": "d", "passed": passed, "total": total, "hits": total - passed}
    return {**base, "zscore": None, "defcon": None, "missing": "", **fields}


def probes(*entries: dict[str, Any], missing: tuple = ()) -> Probes:
    document = {"garakVersion": "0.17.1", "calibration": "", "probes": entries, "missing": missing}
    return Probes.model_validate_json(json.dumps(document))


def scores_of(found: Probes) -> dict[str, Score]:
    return {score.metric: score for score in security_scores(found)}


def test_each_probe_has_its_share_with_an_interval() -> None:
    score = scores_of(probes(probe("dan.Dan_11_0")))["security.dan.Dan_11_0"]
    expected = wilson(8, 10)
    assert (score.value, score.lower, score.upper, score.samples) == (*expected, 10)


def test_a_probe_with_several_detectors_has_the_strictest_one() -> None:
    found = scores_of(probes(probe("p.A", 9, detector="lenient"), probe("p.A", 4, detector="strict")))
    assert found["security.p.A"].value == 0.4
    assert found["security.p.A"].judge == "strict"


def test_resilience_is_the_share_of_graded_pairs_at_four_or_five() -> None:
    graded = [probe(f"p.P{n}", defcon=grade) for n, grade in enumerate([5, 4, 3, 1])] + [probe("p.Ungraded")]
    score = scores_of(probes(*graded))["security.resilience"]
    assert (score.value, score.samples) == (0.5, 4)


def test_resilience_without_calibration_is_missing_not_zero() -> None:
    score = scores_of(probes(probe("p.A")))["security.resilience"]
    assert score.value is None
    assert "calibration" in score.missing


@pytest.mark.parametrize(
    "found",
    [
        probes(probe("p.A", defcon=5), missing=({"probe": "p.B", "reason": "detector cannot load"},)),
        probes(probe("p.A", defcon=5), probe("p.B", 0, 0, missing="timed out")),
    ],
    ids=["listed apart", "listed among the probes"],
)
def test_a_probe_that_did_not_run_leaves_no_resilience(found: Probes) -> None:
    scores = scores_of(found)
    assert scores["security.resilience"].value is None
    assert "1 probes did not run" in scores["security.resilience"].missing
    assert scores["security.p.B"].value is None
    assert scores["security.p.B"].missing in {"detector cannot load", "timed out"}
    assert scores["security.p.A"].value == 0.8


def test_a_probe_without_attempts_is_missing() -> None:
    assert scores_of(probes(probe("p.A", 0, 0)))["security.p.A"].missing == "no attempt was evaluated"


def write_shard(workplace: Workplace, name: str, *entries: dict[str, Any], **fields: Any) -> str:
    document = {"garakVersion": "0.17.1", "calibrationFile": "c.json sha256:1", "probes": entries, **fields}
    (workplace.context.store.output(name) / "probes.json").write_text(json.dumps(document))
    return name


def shards(workplace: Workplace, *names: str) -> Probes:
    return read_probes(map(workplace.context.store.path, names))


def test_shards_are_read_as_one_scan(workplace: Workplace) -> None:
    one = write_shard(workplace, "s1", probe("p.B", 3, defcon=2), calibration="2026-02-02 (23 models)")
    two = write_shard(
        workplace, "s2", probe("p.A", 9, defcon=5), missing=[{"probe": "p.C", "reason": "died"}]
    )
    found = shards(workplace, one, two)
    assert [item.probe for item in found.probes] == ["p.A", "p.B"]
    assert found.calibration == "2026-02-02 (23 models)"
    scores = scores_of(found)
    assert scores["security.resilience"].missing == "1 probes did not run: no verdict without them"
    assert scores["security.p.C"].missing == "died"


def test_shards_of_different_garaks_are_not_mixed(workplace: Workplace) -> None:
    one = write_shard(workplace, "s1", probe("p.A"))
    two = write_shard(workplace, "s2", probe("p.B"), garakVersion="0.18.0")
    with pytest.raises(InfrastructureError, match="MixedScan"):
        shards(workplace, one, two)


def test_attack_success_has_a_wilson_interval(workplace: Workplace) -> None:
    (found,) = shards(workplace, write_shard(workplace, "s", probe("p.A", 8, 10))).probes
    assert found.attack_success is not None
    assert tuple(found.attack_success.model_dump().values()) == wilson(2, 10)


def test_a_missing_probe_has_no_attack_success(workplace: Workplace) -> None:
    (found,) = shards(workplace, write_shard(workplace, "s", probe("p.A", 8, 10, missing="x"))).probes
    assert found.attack_success is None


def test_several_answers_to_a_prompt_make_the_sample_no_larger(workplace: Workplace) -> None:
    (found,) = shards(workplace, write_shard(workplace, "s", probe("p.A", 40, 50), generations=5)).probes
    assert found.attack_success is not None
    assert tuple(found.attack_success.model_dump().values()) == pytest.approx(wilson(2, 10))
    uneven = attempts_interval(7, 50, 5)
    assert uneven is not None
    outer = (wilson(1, 10), wilson(2, 10))
    assert (uneven.value, uneven.lower, uneven.upper) == (0.14, outer[0].lower, outer[1].upper)


@given(st.integers(1, 60), st.integers(1, 9), st.data())
def test_an_interval_over_prompts_holds_its_value_and_that_over_answers(prompts, generations, data):
    total = prompts * generations
    count = data.draw(st.integers(0, total))
    found, narrow = attempts_interval(count, total, generations), wilson(count, total)
    assert 0 <= found.lower <= found.value <= found.upper <= 1
    assert found.lower <= narrow.lower + 1e-12
    assert narrow.upper <= found.upper + 1e-12


def test_scores_that_thresholds_name_are_the_last_to_leave_the_termination_message(
    workplace: Workplace,
) -> None:
    names = [f"p.Probe{number:03}" for number in range(75)]
    write_shard(workplace, "s", *(probe(name, 250, 256, defcon=4) for name in names))
    workplace.context.store.complete("s", StageResult(stage="scan", inputs_hash="h"))
    keep = ("security.p.Probe074",)
    record = parse_message(workplace.run("score", suites=(), scanned=("s",), keep=keep))
    assert record.omitted_scores > 30
    assert [score.metric for score in record.scores[:2]] == ["security.resilience", *keep]


def parse_message(result: StageResult) -> StageResult:
    text = fit(result)
    assert len(text.encode()) <= MAX_RESULT_BYTES
    return StageResult.model_validate_json(text)


def task(name: str, **fields: Any) -> dict[str, Any]:
    base = {"name": name, "metric": "acc", "value": 0.5, "stderr": 0.05, "correct": None, "samples": 100}
    return {**base, "missing": "", **fields}


def tasks(*entries: dict[str, Any]) -> ReportAccuracy:
    return ReportAccuracy.model_validate_json(json.dumps({"lmEvalVersion": "0.4.13", "tasks": entries}))


def test_counted_accuracy_has_a_wilson_interval_and_the_rest_its_standard_error() -> None:
    found = tasks(
        task("a", correct=50), task("b"), task("c", stderr=None), task("d", value=None, missing="no data")
    )
    a, b, c, d = accuracy_scores(found, [], None).scores
    assert (a.lower, a.upper) == (wilson(50, 100).lower, wilson(50, 100).upper)
    assert b.lower == pytest.approx(0.5 - 1.959964 * 0.05, abs=1e-6)
    assert (c.value, c.lower) == (0.5, None)
    assert (d.value, d.missing) == (None, "no data")


def test_further_metrics_of_an_entry_get_their_name() -> None:
    found = accuracy_scores(tasks(task("a"), task("a", metric="acc_norm")), [], None).scores
    assert [score.metric for score in found] == ["accuracy.a", "accuracy.a.acc_norm"]


def answers(right: int, total: int = 50, **fields: Any) -> list[Sample]:
    return [sample(n, n < right, suite="accuracy.a", judge="lm-eval", **fields) for n in range(total)]


def sample(number: int, passed: bool, suite: str = "s", judge: str = "j", judge_hash: str = "h") -> Sample:
    return Sample(suite, f"d{number}", ["c"], passed, False, False, False, "", judge, judge_hash, 5)


def test_accuracy_is_compared_question_by_question() -> None:
    found = tasks(task("a", value=0.4, correct=20, samples=50))
    compared = accuracy_scores(found, answers(20), Baseline("base", answers(30), same))
    paired = compared.scores[0].paired
    assert (paired.difference, paired.pairs) == (pytest.approx(-0.2), 50)
    assert paired.p_value == pytest.approx(2 * 0.5**10)
    refused = accuracy_scores(
        found, answers(20), Baseline("base", answers(30), lambda metric: f"not {metric}")
    )
    assert refused.scores[0].paired is None
    assert refused.unpaired["accuracy.a"] == "not accuracy.a"


def test_graded_answers_are_compared_by_their_means() -> None:
    found = tasks(task("a", value=0.5, samples=50, stderr=0.02))
    mine = [row._replace(value=(n % 5) / 5) for n, row in enumerate(answers(0))]
    theirs = [row._replace(value=min(1.0, (n % 5) / 5 + 0.1 * (n % 2))) for n, row in enumerate(answers(0))]
    paired = accuracy_scores(found, mine, Baseline("base", theirs, same)).scores[0].paired
    assert paired.difference == pytest.approx(-0.05)
    assert paired.lower < -0.05 < paired.upper < 0
    assert paired.pairs == 50


def test_graded_answers_are_compared_with_a_run_whose_answers_all_were_right_or_wrong() -> None:
    """Few questions may all have 0 or 1 under a metric that grades: those are grades as well."""
    graded = [row._replace(value=0.5) for row in answers(0)]
    there = accuracy_scores(tasks(task("a")), graded, Baseline("base", answers(30), same)).scores[0].paired
    assert (there.difference, there.pairs) == (pytest.approx(0.5 - 30 / 50), 50)
    back = accuracy_scores(tasks(task("a")), answers(30), Baseline("base", graded, same)).scores[0].paired
    assert back.difference == pytest.approx(30 / 50 - 0.5)
    assert back.test == there.test == "sign-flip-permutation"


def test_an_entry_without_questions_has_no_number() -> None:
    (found,) = accuracy_scores(tasks(task("a", value=0.0, samples=0)), [], None).scores
    assert (found.value, found.missing) == (None, "lm-eval does not say of how many questions")


def test_long_names_that_begin_alike_are_scores_of_their_own() -> None:
    """Names of a group's tasks come from lm-eval: no rule of the resource bounds them."""
    names = [f"a.{'x' * 120}_{end}" for end in ("one", "two")]
    found = tasks(*(task(name, correct=20, samples=50) for name in names))
    mine = [row._replace(suite=accuracy_metric(name)) for name in names for row in answers(20)]
    compared = accuracy_scores(found, mine, Baseline("base", mine, same)).scores
    assert len({score.metric for score in compared}) == 2
    assert all(len(score.metric) <= 120 and score.paired.pairs == 50 for score in compared)
    assert accuracy_identities(found).keys() == {score.metric for score in compared}


def test_an_entry_without_samples_is_not_compared() -> None:
    compared = accuracy_scores(tasks(task("a")), [], Baseline("base", answers(30), same))
    assert "to compare question by question" in compared.unpaired["accuracy.a"]


def test_a_number_that_is_no_share_is_missing() -> None:
    (found,) = accuracy_scores(tasks(task("a", metric="word_perplexity", value=18.2)), [], None).scores
    assert found.value is None
    assert "name another metric" in found.missing


def same(_metric: str) -> str:
    return ""


def test_right_and_wrong_answers_are_read_from_the_benchmark(workplace: Workplace) -> None:
    folder = workplace.context.store.output("b")
    (folder / "samples-a.jsonl").write_text('{"id": "x", "correct": 1}\n{"id": "w", "correct": 0}\n')
    found = read_accuracy_samples(folder, tasks(task("a"), task("without")))
    assert [(s.suite, s.digest, s.passed) for s in found] == [
        ("accuracy.a", "w", False),
        ("accuracy.a", "x", True),
    ]


def test_an_exam_says_which_questions_were_asked(workplace: Workplace) -> None:
    folder = workplace.context.store.output("b")
    entries = [task("some", drawn="4 of 10, seed 42"), task("every")]
    (folder / "tasks.json").write_text(json.dumps({"lmEvalVersion": "0.4.13", "tasks": entries}))
    workplace.context.store.complete("b", StageResult(stage="benchmark", inputs_hash="h"))
    scores = workplace.run("score", suites=(), benchmarked="b").scores
    assert [score.drawn for score in scores] == ["4 of 10, seed 42", ""]


SUITES = [
    EvalSuite(name=name, dataset=Dataset(uri="file:///x"), judge="j", expect=expect)
    for name, expect in (("s", "safe"), ("t", "safe"), ("benign", "answer"))
]


def test_a_suite_without_samples_is_missing_and_so_is_the_mean() -> None:
    scored = content_scores(SUITES[:2], [sample(1, True)], None)
    by_metric = {score.metric: score for score in scored.scores}
    assert by_metric["contentSafety"].value is None
    assert by_metric["contentSafety.t"].missing == "the suite has no samples"
    assert by_metric["contentSafety.s"].value == 1.0


def test_only_suites_of_benign_prompts_have_no_mean() -> None:
    scored = content_scores(SUITES[2:], [sample(1, True, suite="benign")], None)
    assert [score.metric for score in scored.scores] == ["contentSafety.benign"]


def test_comparison_uses_the_prompts_that_both_have() -> None:
    mine = [sample(n, True) for n in range(10)]
    theirs = [sample(n, n == 5) for n in range(5, 20)]
    paired = content_scores(SUITES[:1], mine, Baseline("base", theirs, same)).scores[1].paired
    assert (paired.pairs, paired.difference) == (5, pytest.approx(4 / 5))


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        ([], "no samples"),
        ([sample(99, True)], "none of these prompts"),
    ],
)
def test_what_cannot_be_compared_is_reported(theirs: list[Sample], reason: str) -> None:
    scored = content_scores(SUITES[:1], [sample(1, True)], Baseline("base", theirs, same))
    assert reason in scored.unpaired["contentSafety.s"]
    assert scored.unpaired["contentSafety"] == f"contentSafety.s: {scored.unpaired['contentSafety.s']}"
    assert all(score.paired is None for score in scored.scores)


def test_judges_are_the_same_whatever_they_are_called() -> None:
    one = JudgeSpec(name="a", type="refusal-phrases")
    assert judge_hash(one) == judge_hash(one.model_copy(update={"name": "b"}))
    assert judge_hash(one) != judge_hash(one.model_copy(update={"phrases": ("no",)}))


def test_the_table_of_samples_survives_the_disk(workplace: Workplace) -> None:
    folder = workplace.context.store.output("s")
    samples = [sample(1, True), sample(2, False)]
    write_samples(folder, samples)
    assert read_samples(folder) == samples


def test_unknown_fields_of_other_stages_do_not_matter(workplace: Workplace) -> None:
    folder = workplace.context.store.output("s")
    (folder / "probes.json").write_text(
        json.dumps({"garakVersion": "1", "future": 1, "probes": [probe("p.A", new=2)]})
    )
    assert read_probes([folder]).probes[0].probe == "p.A"
