"""Which answer is kept: the first or the best safe one, never an unread, half or unsafe one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.support.stage_settings import choosing_rule

from safety_worker.blending.choosing import Choice, choose_answer, judge_candidates, pick_candidate
from safety_worker.generation.reasoning import (
    bare,
    opening_of,
    reasoning_of,
    strip_reasoning,
    whole_reasoning,
)
from safety_worker.rows import SOURCE, GeneratedRow, Origin, VerdictRow


def answer(text: str, candidate: int = 0, **fields: Any) -> GeneratedRow:
    origin = Origin(source="s", index=0)
    return GeneratedRow(
        suite="safety", digest="d", candidate=candidate, prompt="p", answer=text, origin=origin, **fields
    )


def verdicts(
    *passed: bool | None, candidate: int = 0, score: float | None = None
) -> dict[str, list[VerdictRow]]:
    rows = [
        VerdictRow(
            suite="safety",
            digest="d",
            candidate=candidate,
            judge=f"j{number}",
            safe=value,
            unparsed=value is None,
            passed=bool(value),
            score=score,
        )
        for number, value in enumerate(passed)
    ]
    return {f"safety/d/{candidate}": rows}


@pytest.mark.parametrize(
    ("passed", "agreement", "reason"),
    [
        ((True, True, True), "all", ""),
        ((True, True, False), "all", "unsafe"),
        ((True, True, False), "majority", ""),
        ((True, False, False), "majority", "unsafe"),
        ((True, False, False), "any", ""),
        ((False, False, False), "any", "unsafe"),
        ((True, True, None), "any", "unparsed"),
        ((True, True), "any", "unparsed"),
        ((), "any", "unparsed"),
    ],
)
def test_how_many_judges_must_agree(passed: tuple, agreement: str, reason: str) -> None:
    assert (
        choose_answer([answer("No.")], verdicts(*passed), choosing_rule(3, agreement=agreement)).reason
        == reason
    )


@given(
    st.lists(st.sampled_from([True, False, None]), max_size=5), st.sampled_from(["all", "any", "majority"])
)
def test_what_a_judge_could_not_read_or_did_not_see_is_never_kept(votes: list, agreement: str) -> None:
    choice = choose_answer([answer("No.")], verdicts(*votes), choosing_rule(5, agreement=agreement))
    assert (choice.reason == "") <= (len(votes) == 5 and None not in votes and any(votes))


def test_a_judge_that_spoke_twice_has_one_vote() -> None:
    twice = {"safety/d/0": verdicts(True)["safety/d/0"] * 2}
    assert choose_answer([answer("No.")], twice, choosing_rule(2)).reason == "unparsed"


def test_the_first_safe_candidate_is_kept_in_whatever_order_they_come() -> None:
    found = [answer("third", 2), answer("first", 0), answer("second", 1)]
    said = verdicts(False) | verdicts(True, candidate=1) | verdicts(True, candidate=2)
    assert choose_answer(found, said, choosing_rule(1)) == Choice("second", 1, "")


def test_the_best_has_most_votes_then_the_safest_score_then_a_whole_end_then_comes_first() -> None:
    rule = choosing_rule(2, agreement="any", pick="best")
    found = [
        answer("0", 0),
        answer("1", 1),
        answer("2. 2", 2, truncated=True),
        answer("3", 3),
        answer("4", 4),
    ]
    votes = verdicts(True, False, score=0.9)
    for number, score in ((1, 0.5), (2, 0.8), (3, 0.8), (4, 0.8)):
        votes |= verdicts(True, True, candidate=number, score=score)
    assert choose_answer(found, votes, rule).candidate == 3
    assert choose_answer(found, votes, choosing_rule(2, agreement="any")).candidate == 0


def test_the_best_without_scores_is_the_first_with_most_votes() -> None:
    found = [answer("0", 0), answer("1", 1), answer("2", 2)]
    votes = verdicts(True, False) | verdicts(True, True, candidate=1) | verdicts(True, True, candidate=2)
    assert choose_answer(found, votes, choosing_rule(2, agreement="any", pick="best")).candidate == 1


@pytest.mark.parametrize("which", ["first", "best"])
def test_the_sources_response_comes_after_every_own_answer(which: str) -> None:
    rule = choosing_rule(1, pick=which)
    found = [answer("theirs", 1, finish_reason=SOURCE), answer("own", 0)]
    both = verdicts(True, score=0.5) | verdicts(True, candidate=1, score=1.0)
    assert choose_answer(found, both, rule) == Choice("own", 0, "")
    theirs = verdicts(False) | verdicts(True, candidate=1)
    assert choose_answer(found, theirs, rule) == Choice("theirs", 1, "", source=True)
    none = verdicts(False) | verdicts(False, candidate=1)
    assert choose_answer(found, none, rule).reason == "unsafe"


def test_the_gravest_reason_stands_for_a_row() -> None:
    found = [
        answer("", 0, truncated_reasoning=True),
        answer("x", 1),
        answer("y", 2),
        answer("", 3, error="HTTP 400"),
    ]
    said = verdicts(None, candidate=1) | verdicts(False, candidate=2)
    assert [item.reason for item in judge_candidates(found, said, choosing_rule(1))] == [
        "truncated",
        "unparsed",
        "unsafe",
        "unanswered",
    ]
    assert choose_answer(found, said, choosing_rule(1)).reason == "unsafe"
    assert choose_answer(found[:2], said, choosing_rule(1)).reason == "unparsed"
    assert pick_candidate([], choosing_rule(1)).reason == "unanswered"


def test_half_sentences_and_half_reasoning_are_never_trained_on() -> None:
    cut = answer("I can't help. It would be dang", truncated=True)
    assert choose_answer([cut], verdicts(True), choosing_rule(1)).answer == "I can't help."
    assert (
        choose_answer([answer("I can't hel", truncated=True)], verdicts(True), choosing_rule(1)).reason
        == "truncated"
    )
    half = answer("", truncated_reasoning=True)
    assert choose_answer([half], verdicts(True), choosing_rule(1)).reason == "truncated"


def test_reasoning_is_kept_whole_or_left_out() -> None:
    row = answer("I can't help.", reasoning="They ask for harm.</think>")
    keep = choosing_rule(1, reasoning="keep", reasoning_end="</think>")
    assert (
        choose_answer([row], verdicts(True), keep).answer
        == "<think>\nThey ask for harm.</think>\n\nI can't help."
    )
    assert choose_answer([row], verdicts(True), choosing_rule(1)).answer == "I can't help."
    assert choose_answer([answer("Plain.")], verdicts(True), keep).answer == "Plain."


@given(st.text(), st.text(), st.sampled_from(["</think>", "<|end_of_thought|>", "</seed:think>"]))
def test_a_trace_and_its_answer_are_the_whole_text(trace: str, text: str, end: str) -> None:
    whole = f"{trace}{end}{text}"
    answer_text, left = strip_reasoning(whole, end)
    assert left
    if end not in text:
        assert reasoning_of(whole, end) == f"{trace}{end}".strip()
        assert answer_text == text.strip()
    assert end not in answer_text


@pytest.mark.parametrize(
    ("reasoning", "end", "whole", "plain"),
    [
        ("a</think>", "</think>", "<think>\na</think>", "a"),
        ("<think>a</think>", "</think>", "<think>a</think>", "a"),
        ("a<|end|>", "<|end|>", "a<|end|>", "a"),
        ("", "</think>", "", ""),
    ],
)
def test_a_trace_gets_the_tag_that_the_chat_template_had(
    reasoning: str, end: str, whole: str, plain: str
) -> None:
    assert whole_reasoning(reasoning, end) == whole
    assert bare(whole, end) == plain
    assert opening_of("</think>") == "<think>"
