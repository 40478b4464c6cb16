"""The answers that would be trained on, as rows to screen. Streamed, so that millions need no memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from safety_worker.blending.choosing import Rule, choose_answer
from safety_worker.blending.joining import join_answers
from safety_worker.screening.candidates import Candidate


def stream_candidates(
    answered: Path,
    judged: Path,
    rule: Rule,
    parts: Sequence[str],
) -> Iterator[Candidate]:
    """Rows that the judges pass, in the order of their part and digest.

    Parameters
    ----------
    answered, judged
        Folders of finished answer and judge stages. Both are sorted by key, so they are merged as they are
        read.
    rule
        How an answer is chosen.
    parts
        Parts of the blend that are wanted.

    Raises
    ------
    InfrastructureError
        If a folder is not sorted.
    """
    for (part, digest), answers, verdicts in join_answers(answered, judged):
        choice = choose_answer(answers, verdicts, rule) if part in parts else None
        if choice is not None and not choice.reason:
            first = answers[0]
            yield Candidate(part, digest, first.prompt, choice.answer, first.origin, first.context)
