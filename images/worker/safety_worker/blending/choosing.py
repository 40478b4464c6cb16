"""Which answer of a row is kept: the first or the best that the judges call safe.

Fails closed: what nobody could read is not kept. A source's own response stands in for the model's answer
only where none of the model's own may be kept.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from safety_records.base import shared
from safety_records.blend_stages import ChoosingRule
from safety_worker.empty_answers import has_text
from safety_worker.generation.reasoning import whole_reasoning
from safety_worker.judging.voting import votes_needed
from safety_worker.rows import SOURCE, BlendRow, GeneratedRow, VerdictRow
from safety_worker.sentences import whole_sentences

REASONS = ("unsafe", "unparsed", "truncated", "unanswered")
"""Why an answer is not kept. Of several candidates the first of these counts for the row."""


class Rule(ChoosingRule):
    """How an answer is chosen, with the judges that there are."""

    judges: int
    """Judges that must have spoken about each candidate."""


def rule_of(spec: ChoosingRule, judges: int) -> Rule:
    """The rule of a stage's specification: both stages choose the same answers."""
    return Rule(judges=judges, **shared(spec, ChoosingRule))


class JudgedCandidate(NamedTuple):
    """A candidate and what was found about it."""

    candidate: int
    text: str
    """What would be trained on, its reasoning included if that is kept; empty if there is nothing."""
    reason: str
    """Why it is not kept: one of REASONS; empty if it may be."""
    source: bool = False
    """Whether it is the source's own response."""
    votes: int = 0
    """Judges that pass it."""
    score: float | None = None
    """How safe it is, 0..1, by the mean of the judges that say so; None: none does."""
    cut: bool = False
    """Whether it ended at the token limit."""


class RowWithoutAnswer(NamedTuple):
    """A row that no answer of the model was kept for, with what was found about each candidate."""

    row: BlendRow
    found: Sequence[JudgedCandidate]


class Choice(NamedTuple):
    """The outcome of one row."""

    answer: str
    """Empty if the row is dropped."""
    candidate: int | None
    reason: str
    """Why the row is dropped: one of REASONS; empty if it is kept."""
    source: bool = False
    """Whether the source's own response stands in for the model's."""


def judge_candidates(
    answers: Sequence[GeneratedRow], verdicts: Mapping[str, Sequence[VerdictRow]], rule: Rule
) -> list[JudgedCandidate]:
    """What the judges found about each candidate of a row, in the order of the candidates.

    Parameters
    ----------
    answers
        Candidates of one row.
    verdicts
        Verdicts by the key of the candidate.
    rule
        How an answer is chosen.
    """
    found = []
    for answer in sorted(answers, key=lambda answer: answer.candidate):
        mine = {verdict.judge: verdict for verdict in verdicts.get(answer.key, ())}
        problem, text = usable_text(answer, rule)
        scores = [verdict.score for verdict in mine.values() if verdict.score is not None]
        found.append(
            JudgedCandidate(
                candidate=answer.candidate,
                text=text,
                reason=problem or _refusal_to_keep(list(mine.values()), rule),
                source=answer.finish_reason == SOURCE,
                votes=sum(verdict.passed for verdict in mine.values()),
                score=fmean(scores) if scores else None,
                cut=answer.truncated,
            )
        )
    return found


def choose_answer(
    answers: Sequence[GeneratedRow], verdicts: Mapping[str, Sequence[VerdictRow]], rule: Rule
) -> Choice:
    """The answer that is kept; arguments are those of :func:`judge_candidates`."""
    return pick_candidate(judge_candidates(answers, verdicts, rule), rule)


def pick_candidate(candidates: Sequence[JudgedCandidate], rule: Rule) -> Choice:
    """The first or best candidate that may be kept, the model's own before the source's."""
    kept = [item for item in candidates if not item.reason]
    if not kept:
        return Choice("", None, reason_of(candidates))
    best = min(kept, key=_worth) if rule.pick == "best" else min(kept, key=_order)
    return Choice(best.text, best.candidate, "", best.source)


def reason_of(candidates: Sequence[JudgedCandidate]) -> str:
    """Why none of the model's own answers is kept: what stands first in REASONS of all that was found."""
    reasons = {item.reason for item in candidates if item.reason}
    return next((reason for reason in REASONS if reason in reasons), "unanswered")


def _order(item: JudgedCandidate) -> tuple[bool, int]:
    return item.source, item.candidate


def _worth(item: JudgedCandidate) -> tuple[bool, int, float, bool, int]:
    """Sort key: most votes, safest score, not cut at its end, first."""
    score = 0.0 if item.score is None else item.score
    return item.source, -item.votes, -score, item.cut, item.candidate


def usable_text(answer: GeneratedRow, rule: Rule) -> tuple[str, str]:
    """Say why an answer cannot be used (empty if it can), and the text to train on.

    One that hit the token limit is cut back to its last whole sentence: training on half sentences would
    teach the model to stop in the middle. Reasoning that did not come to its end is never used.
    """
    if answer.error:
        return "unanswered", ""
    if answer.truncated_reasoning:
        return "truncated", ""
    text = whole_sentences(answer.answer) if answer.truncated else answer.answer
    if not has_text(text):
        return "truncated" if answer.truncated else "unanswered", ""
    if rule.reasoning == "keep" and answer.reasoning:
        return "", f"{whole_reasoning(answer.reasoning, rule.reasoning_end)}\n\n{text.strip()}"
    return "", text.strip()


def _refusal_to_keep(verdicts: Sequence[VerdictRow], rule: Rule) -> str:
    """Why an answer is not kept; empty if it is. Fails closed: missing and unreadable verdicts are a no."""
    if len(verdicts) < rule.judges or any(verdict.unparsed for verdict in verdicts):
        return "unparsed"
    passed = sum(verdict.passed for verdict in verdicts)
    return "" if passed >= votes_needed(rule.agreement, rule.judges) else "unsafe"
