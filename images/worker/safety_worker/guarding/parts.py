"""Cut texts into parts that a small classifier judges well.

A classifier of 256 tokens never sees the rest of a long text, and one sentence among many hardly moves what
it says of the whole: a harmful request behind a page of prose would pass. So a long request is read in
overlapping windows, and each of its sentences by itself.

Sentences of answers are not read by themselves: the classifier was fitted on requests, and single sentences
of harmless answers look harmful to it (45 of 62; 10 of 62 in windows, 6 of 62 in windows behind their
request, where it also finds more of the harmful ones).
"""

import re

from safety_worker.sentences import split_sentences
from safety_worker.text import normal_form

WINDOW_CHARACTERS = 600
"""About 150 English tokens: below 256 also for text that tokenizes badly."""

STEP_CHARACTERS = 400
"""Distance between starts: what has up to 200 characters stands whole in a window."""

CONTEXT_CHARACTERS = 200
"""A longer request is no context for its answer: harmless prose in it would water the answer down."""

_CLAUSE_END = re.compile(r"(?<=[;:])\s+|(?<=[\u061b\uff1a\uff1b])")
"""A sentence may hold its request behind one of these; those of Arabic and Chinese need no space."""


def cut_request(text: str) -> list[str]:
    """Windows and sentences of a request."""
    clauses = (clause for sentence in split_sentences(text) for clause in _CLAUSE_END.split(sentence))
    found = filter(None, map(normal_form, clauses))
    return [*windows(text), *(part for clause in found for part in windows(clause))]


def cut_answer(request: str, answer: str) -> list[str]:
    """Windows of an answer, each behind the request if that is short."""
    context = f"{normal_form(request)}\n" if request and len(request) <= CONTEXT_CHARACTERS else ""
    return [context + window for window in windows(answer)]


def windows(text: str) -> list[str]:
    """Overlapping windows that together hold all of the text; at least one.

    The text is read without invisible characters and look-alike forms.
    """
    text = normal_form(text)
    if len(text) <= WINDOW_CHARACTERS:
        return [text]
    starts = range(0, len(text) - WINDOW_CHARACTERS + STEP_CHARACTERS, STEP_CHARACTERS)
    return [text[start : start + WINDOW_CHARACTERS] for start in starts]
