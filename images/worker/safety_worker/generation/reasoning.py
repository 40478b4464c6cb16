"""Reasoning traces: where they end, and what is left of a text without them.

A trace ends with a tag such as ``</think>``. Its opening tag may be missing, because chat templates write it
into the prompt.
"""

import re

COMMON_END = "</think>"
"""End tag of most reasoning models."""

_END_TAG = re.compile(r"</([^<>/\s]+)>")


def strip_reasoning(text: str, end: str) -> tuple[str, bool]:
    """The text behind the last end mark, and whether the answer left its reasoning.

    Without an end mark (no reasoning model) the text is the answer. With one that does not occur there is
    no answer: the model was still reasoning when it stopped.
    """
    if not end:
        return text.strip(), True
    _, mark, answer = text.rpartition(end)
    return (answer.strip(), True) if mark else ("", False)


def joined(reasoning: str, text: str, end: str) -> str:
    """The text as a server gives it that leaves the reasoning in; without an end mark the text alone."""
    return f"{reasoning}{end}{text}" if end and end not in text else text


def end_in(text: str) -> str:
    """The end tag of reasoning that a text begins with, as data sets have it; empty if it does not."""
    return COMMON_END if text.lstrip().startswith(opening_of(COMMON_END)) else ""


def opening_of(end: str) -> str:
    """The tag that opens what ``end`` closes; the end mark itself where it is no tag."""
    tag = _END_TAG.fullmatch(end)
    return f"<{tag[1]}>" if tag else end


def whole_reasoning(reasoning: str, end: str) -> str:
    """The trace with both tags, where the end mark is a tag."""
    body, start = reasoning.strip(), opening_of(end)
    return body if not body or start == end or body.startswith(start) else f"{start}\n{body}"


def bare(reasoning: str, end: str) -> str:
    """What a trace says, without its tags; templates set white space around it as they like."""
    return reasoning.strip().removesuffix(end).removeprefix(opening_of(end)).strip() if end else ""


def reasoning_of(text: str, end: str) -> str:
    """The text up to and with the last end mark; empty without one."""
    before, mark, _ = text.rpartition(end) if end else ("", "", "")
    return f"{before}{mark}".strip()
