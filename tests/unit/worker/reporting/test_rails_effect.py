"""What rails add and cost: blocked answers, differences to the same model without them, times."""

import json
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest
from scipy import stats
from tests.unit.worker.conftest import GREEDY, PHRASES, Workplace, served
from tests.unit.worker.fake_model_server import FakeModelServer, Reply
from tests.unit.worker.stages.test_eval_pipeline import BENIGN, HARMFUL, jsonl

from safety_records.eval_stages import EvalSuite, GuardedTarget
from safety_records.report import Report
from safety_records.result import JudgeAgreement, StageResult
from safety_records.sampling import Sampling
from safety_worker.generation.client import Completion
from safety_worker.generation.engine import AnsweringTask, PromptRequest, build_generated_row
from safety_worker.judging.base import passes, unjudgeable
from safety_worker.reporting.rails import rails_effect
from safety_worker.reporting.samples import Sample
from safety_worker.rows import GeneratedRow, Origin, PromptRow

REFUSAL = "I'm sorry, I can't help with that."
HARM = EvalSuite(name="harm", dataset={"uri": "file:///h"}, judge="j")
BENIGN_SUITE = EvalSuite(name="benign", dataset={"uri": "file:///b"}, judge="j", expect="answer")


def number_in(prompt: str) -> int:
    return int("".join(c for c in prompt if c.isdigit()))


def unguarded(prompt: str, _nth: int) -> Reply:
    """The model: refuses the first ten harmful prompts, in the rails' own words."""
    if prompt.startswith("how") and number_in(prompt) < 10:
        return Reply(REFUSAL)
    return Reply("Sure, here is how.")


def railed(prompt: str, nth: int) -> Reply:
    """The same model behind rails that block harmful prompts from 5 to 29, and benign prompt 3."""
    number = number_in(prompt)
    if (prompt.startswith("how") and 5 <= number < 30) or (not prompt.startswith("how") and number == 3):
        return Reply(REFUSAL, finish_reason="content_filter")
    return unguarded(prompt, nth)


def run(workplace: Workplace, suites: list[EvalSuite], *, compare: bool) -> dict[str, StageResult]:
    """generate, judge, both once more without rails, score and report."""
    results: dict[str, StageResult] = {}
    asked = [("", railed, True)] + ([("-unguarded", unguarded, False)] if compare else [])
    for suffix, behaviour, rails in asked:
        with FakeModelServer(behaviour) as server:
            results[f"generate{suffix}"] = workplace.run(
                "generate",
                out=f"generate{suffix}",
                target=served(server.base_url),
                rails=rails,
                timed=True,
                sampling=GREEDY,
                suites=suites,
            )
        results[f"judge{suffix}"] = workplace.run(
            "judge", out=f"judge{suffix}", generated=f"generate{suffix}", suites=suites, judges=[PHRASES]
        )
    more = (
        {"unguarded_generated": "generate-unguarded", "unguarded_judged": "judge-unguarded"}
        if compare
        else {}
    )
    results["score"] = workplace.run(
        "score", out="score", suites=suites, generated="generate", judged="judge", rails=True, **more
    )
    results["report"] = workplace.run(
        "report",
        out="report",
        scored="score",
        generated="generate",
        judged="judge",
        target_uri="guardeddeployment://assistant",
        target_digest="sha256:" + "0" * 64,
        guarded=GuardedTarget(name="assistant", model_digest="sha256:" + "1" * 64, rails_digest="abc"),
        suites=suites,
        judges=[PHRASES],
        scores=results["score"].scores,
        thresholds=[],
        verdict="Unknown",
    )
    return results


@pytest.fixture
def suites(workplace: Workplace, suite: Callable[..., EvalSuite]) -> list[EvalSuite]:
    harmful = workplace.configmap("prompts", "harmful.jsonl", jsonl(HARMFUL))
    benign = workplace.configmap("prompts", "benign.jsonl", jsonl(BENIGN))
    return [suite("harm", harmful), suite("benign", benign, expect="answer")]


def test_what_the_rails_add_and_cost_in_one_chain(workplace: Workplace, suites: list[EvalSuite]) -> None:
    results = run(workplace, suites, compare=True)
    effect = results["score"].rails
    assert effect is not None
    # Of 40 harmful prompts 25 were blocked; of 20 benign ones one.
    assert effect.blocked_unsafe is not None
    assert (effect.blocked_unsafe.count, effect.blocked_unsafe.total) == (25, 40)
    assert effect.blocked_benign is not None
    assert (effect.blocked_benign.count, effect.blocked_benign.total) == (1, 20)
    interval = stats.binomtest(1, 20).proportion_ci(method="wilson")
    assert effect.blocked_benign.lower == pytest.approx(interval.low, abs=1e-9)
    assert effect.blocked_benign.upper == pytest.approx(interval.high, abs=1e-9)
    # Safe without rails: 10 of 40; with rails prompts 0 to 29: 20 more, and none fewer.
    assert effect.unguarded is not None
    assert effect.unguarded.value == 10 / 40
    assert effect.gained is not None
    assert effect.gained.difference == pytest.approx(20 / 40)
    assert effect.gained.p_value == pytest.approx(stats.binomtest(20, 20).pvalue, abs=1e-9)
    assert effect.gained.pairs == 40
    # One benign answer less.
    assert effect.answered is not None
    assert effect.answered.difference == pytest.approx(-1 / 20)
    # Answered both ways by the model: 15 harmful and 19 benign prompts.
    assert effect.latency is not None
    assert effect.latency.samples == 15 + 19
    assert effect.latency.added_p50 is not None


def test_a_refusal_in_the_rails_words_is_no_block(workplace: Workplace, suites: list[EvalSuite]) -> None:
    run(workplace, suites, compare=False)
    rows = pq.read_table(workplace.context.store.input("score") / "rows.parquet").to_pylist()
    details = [
        row["detail"] for row in rows if row["suite"] == "harm" and row["passed"] and not row["blocked"]
    ]
    assert len(details) == 5, "prompts 0 to 4 were refused by the model itself"
    assert "blocked by the rails" not in details


def test_report_page_and_markdown_say_it(workplace: Workplace, suites: list[EvalSuite]) -> None:
    run(workplace, suites, compare=True)
    folder = workplace.context.store.input("report")
    report = Report.model_validate_json((folder / "report.json").read_bytes())
    assert report.rails is not None
    assert [suite.blocked.count for suite in report.rails.suites if suite.blocked] == [25, 1]
    assert [suite.blocked for suite in report.suites] == [25, 1]
    assert report.target.guarded is not None
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "What the rails add and cost" in page
    assert "25 were blocked by the rails" in page
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "| harm | unsafe | 25 / 40 | 62.5\u202f% |" in text
    assert "| contentSafety | +50.0 |" in text
    assert "| without rails |" in text
    table = pq.read_table(workplace.context.store.input("score") / "rows-unguarded.parquet")
    assert table.num_rows == 60
    assert set(table["blocked"].to_pylist()) == {False}


def test_without_compare_only_what_was_blocked_is_said(workplace: Workplace, suites: list[EvalSuite]) -> None:
    effect = run(workplace, suites, compare=False)["score"].rails
    assert effect is not None
    assert (effect.gained, effect.gained_missing, effect.unguarded) == (None, "", None)
    assert effect.latency is not None
    assert (effect.latency.unguarded_p50, effect.latency.added_p50) == (None, None)
    scores = json.loads((workplace.context.store.input("score") / "scores.json").read_text(encoding="utf-8"))
    assert scores["rails"]["compared"] is False


def test_the_effect_survives_the_termination_message(workplace: Workplace, suites: list[EvalSuite]) -> None:
    result = run(workplace, suites, compare=True)["score"]
    assert StageResult.model_validate_json(result.to_json()).rails == result.rails
    assert result.rails is not None
    assert len(result.rails.to_json()) < 1500


def sample(suite: str, number: int, *, passed: bool = True, **fields: object) -> Sample:
    base = Sample(suite, f"d{number}", [], passed, False, False, False, "", "j", "h", None)
    return base._replace(**fields)


def test_an_untrusted_judge_leaves_no_difference():
    rows = [sample("harm", n) for n in range(10)]
    agreement = JudgeAgreement(judge="j", samples=10, agreement=0.5, min_agreement=0.9)
    effect = rails_effect([HARM], rows, rows, [agreement]).effect
    assert effect.gained is None
    assert "judge j agrees with 50.0%" in effect.gained_missing


def test_too_many_unreadable_verdicts_without_rails_leave_no_difference():
    rows = [sample("harm", n, blocked=True) for n in range(10)]
    lost = [sample("harm", n, passed=False, unparsed=True) for n in range(10)]
    effect = rails_effect([HARM], rows, lost).effect
    assert effect.gained is None
    assert effect.gained_missing.startswith("without rails: ")


def test_no_rows_give_no_shares_and_no_times():
    effect = rails_effect([HARM, BENIGN_SUITE], [], []).effect
    assert (effect.blocked_unsafe, effect.blocked_benign, effect.latency) == (None, None, None)
    assert effect.latency_missing == "no prompt was answered by the model in both ways"
    assert effect.gained_missing


def test_prompts_refused_for_good_never_reached_the_rails():
    rows = [sample("benign", 0, blocked=True), sample("benign", 1, passed=False, silence="not answered")]
    effect = rails_effect([BENIGN_SUITE], rows, None).effect
    assert effect.blocked_benign is not None
    assert (effect.blocked_benign.count, effect.blocked_benign.total) == (1, 1)


def test_times_are_of_prompts_that_the_model_answered_both_ways():
    guarded = [sample("harm", n, seconds=0.1 * (n + 1)) for n in range(4)]
    guarded.append(sample("harm", 9, seconds=0.001, blocked=True))
    unguarded = [sample("harm", n, seconds=0.05 * (n + 1)) for n in range(3)]
    latency = rails_effect([HARM], guarded, unguarded).effect.latency
    assert latency is not None
    assert (latency.samples, latency.p50, latency.p95) == (3, 200, 290)
    assert (latency.unguarded_p50, latency.added_p50, latency.added_p95) == (100, 100, 145)


def test_the_mean_over_several_benign_suites_is_compared():
    suites = [BENIGN_SUITE, BENIGN_SUITE.model_copy(update={"name": "more"})]
    guarded = [sample(s.name, n, passed=n > 1) for s in suites for n in range(10)]
    unguarded = [sample(s.name, n) for s in suites for n in range(10)]
    effect = rails_effect(suites, guarded, unguarded).effect
    assert effect.answered is not None
    assert effect.answered.difference == pytest.approx(-0.2)
    assert effect.gained is None, "no suite expects safe answers"


def completion(text: str, reason: str) -> Completion:
    return Completion(text, reason, None, None, 0.5)


def asked() -> PromptRequest:
    row = PromptRow(digest="d", prompt="p", origin=Origin(source="s", index=0))
    return PromptRequest(row, "harm", "p")


REASONING = Sampling(reasoning_end="</think>")


def task(sampling: Sampling, *, rails: bool) -> AnsweringTask:
    return AnsweringTask("generate", served("http://front/v1"), sampling, 1, rails=rails, timed=True)


def test_a_blocked_answer_of_a_reasoning_model_is_no_truncated_one():
    row = build_generated_row(asked(), completion(REFUSAL, "content_filter"), task(REASONING, rails=True))
    assert (row.blocked, row.truncated_reasoning, row.answer, row.seconds) == (True, False, REFUSAL, 0.5)


@pytest.mark.parametrize(
    ("text", "rails", "answer", "truncated"),
    [
        ("Paris.", True, "Paris.", False),
        ("a plan</think>Paris.", True, "Paris.", False),
        ("a plan", False, "", True),
    ],
)
def test_an_answer_through_rails_needs_no_end_of_its_reasoning(text, rails, answer, truncated):
    row = build_generated_row(asked(), completion(text, "stop"), task(REASONING, rails=rails))
    assert (row.answer, row.truncated_reasoning) == (answer, truncated)


def test_an_endpoint_without_rails_cannot_call_its_answers_blocked():
    row = build_generated_row(
        asked(), completion("Take a bomb", "content_filter"), task(Sampling(), rails=False)
    )
    assert not row.blocked
    assert unjudgeable(row) is None


def test_a_blocked_answer_is_safe_and_is_no_answer():
    row = GeneratedRow(
        suite="s", digest="d", prompt="p", answer=REFUSAL, blocked=True, origin=Origin(source="s", index=0)
    )
    verdict = unjudgeable(row)
    assert verdict is not None
    assert passes(verdict, "safe")
    assert not passes(verdict, "answer")
    assert not verdict.unparsed
