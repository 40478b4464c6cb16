"""Answers without text: what they are, how many of them a number may stand on, and what to say of more.

A model that says nothing is broken or badly set up; it is neither safe nor wrong. So one definition and one
share hold for suites, comparisons, probes, questions, canaries and calibrations. Knows nothing of files or of
servers, since launchers import it together with other people's libraries.
"""

import re
import unicodedata
from collections.abc import Mapping
from enum import StrEnum

MAX_EMPTY = 0.1
"""Share of answers without text up to which a number stands; above it the rest is no sample of the whole."""


class EmptyReason(StrEnum):
    """Why an answer holds no text."""

    REFUSED = "not answered"
    """The server refuses the prompt for good."""
    UNFINISHED = "truncated reasoning"
    """The end of reasoning that the specification names never comes."""
    REASONING = "only reasoning"
    """There is reasoning, in a field of its own or between tags, and nothing else."""
    CUT = "cut off before any text"
    """The answer ended at its token limit."""
    EMPTY = "empty answer"
    """Nothing, white space, characters without a shape, special tokens, or one mark over and over."""


REMEDIES: Mapping[EmptyReason, str] = {
    EmptyReason.REFUSED: "shorten the prompts or serve a longer context",
    EmptyReason.UNFINISHED: "raise maxTokens, or correct reasoningEnd",
    EmptyReason.REASONING: "raise maxTokens, set reasoningEnd, or disable the server's reasoning parser",
    EmptyReason.CUT: "raise maxTokens",
    EmptyReason.EMPTY: "check the server, its number format, its chat template and its reasoning parser",
}

_WORDS: Mapping[EmptyReason, str] = {
    EmptyReason.REFUSED: "refused by the server",
    EmptyReason.UNFINISHED: "with unfinished reasoning",
    EmptyReason.REASONING: "with reasoning only",
    EmptyReason.CUT: "cut off",
    EmptyReason.EMPTY: "empty",
}

_TAGS = r"(?:think|thinking|thoughts?|reasoning|seed:think)"
_MARK = re.compile(
    rf"(?P<end></{_TAGS}>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|end_of_thought\|>|<unused95>"
    r"|<\|channel\|>\s*final)"
    rf"|<{_TAGS}>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|begin_of_thought\|>|<unused94>(?:thought)?"
    r"|<\|channel\|>\s*(?:analysis|commentary)",
    re.IGNORECASE,
)
"""Marks around reasoning, as models write them: DeepSeek, Qwen, Magistral, Kimi, Command, Gemma, gpt-oss."""

_ROLE = r"\s*(?:assistant|model|user|system)?\s*"
_SPECIAL = re.compile(
    rf"<\|(?:im_start|start|start_of_role)\|>{_ROLE}"
    rf"|<\|start_header_id\|>{_ROLE}<\|end_header_id\|>|<start_of_turn>{_ROLE}"
    r"|<[|｜][^<>|｜\s]{1,40}[|｜]>"  # noqa: RUF001 - DeepSeek's tokens have full-width bars
    r"|</?s>|<(?:pad|unk|bos|eos|mask|end_of_turn|end_of_utterance|endoftext|unused\d+|extra_id_\d+"
    r"|reserved_\d+|0x[0-9a-f]{2})>"
    r"|\[/?INST\]|\[(?:PAD|UNK|CLS|SEP|MASK|BOS|EOS)\]|<</?SYS>>",
    re.IGNORECASE,
)
_END_TAG = re.compile(r"</[\w:.|-]{1,40}>")

MANY_MARKS = 3
"""So many of one mark of punctuation, and nothing else, are no text."""

_SHAPELESS = frozenset("\ufffd\u2800\u115f\u1160\u3164\uffa0")
"""The replacement character, the blank Braille pattern, Hangul fillers: letters or symbols by name only."""


def has_text(text: str | None) -> bool:
    """Whether an answer holds something to read or to judge."""
    return find_empty_reason(text) is None


def find_empty_reason(text: str | None, *, reasoning: bool = False, cut: bool = False) -> EmptyReason | None:
    """Why an answer holds no text; None if it does.

    Parameters
    ----------
    text
        As the server gives it, or without its reasoning.
    reasoning
        Whether there was reasoning apart from it.
    cut
        Whether it ended at the token limit.
    """
    if text and _is_readable(outside_reasoning(text)):
        return None
    if reasoning or (text and _is_readable(_MARK.sub(" ", text))):
        return EmptyReason.REASONING
    return EmptyReason.CUT if cut else EmptyReason.EMPTY


def outside_reasoning(text: str) -> str:
    """The text without reasoning, whose opening mark may be missing: templates write it into the prompt."""
    kept: list[str] = []
    start, inside = 0, False
    for mark in _MARK.finditer(text):
        if mark["end"]:
            if not inside:
                kept.clear()
            start, inside = mark.end(), False
        elif not inside:
            kept.append(text[start : mark.start()])
            inside = True
    if not inside:
        kept.append(text[start:])
    return " ".join(kept)


def _is_readable(text: str) -> bool:
    """Whether a letter, digit, mark of punctuation or symbol is left without special tokens."""
    left = _SPECIAL.sub(" ", text)
    if _END_TAG.fullmatch(left.strip()):
        return False
    if is_one_mark(left):
        return False
    return any(char not in _SHAPELESS and unicodedata.category(char)[0] in "LNPS" for char in left)


def is_one_mark(text: str) -> bool:
    """Whether a text is one mark over and over, as from a model whose numbers overflow: ``!!!!!!``.

    Brackets are not meant: they are answers to some multiple-choice questions.
    """
    text = "".join(text.split())
    if len(text) < MANY_MARKS or len(set(text)) > 1:
        return False
    return text[0] == "`" or unicodedata.category(text[0]) in {"Pc", "Pd", "Po"}


def too_many_empty(silent: int, total: int) -> bool:
    """Whether so many answers without text leave no number of all."""
    return silent > MAX_EMPTY * total


def empty_answers_problem(found: Mapping[EmptyReason, int], total: int, remedy: str = "") -> str:
    """Why so many answers without text leave no number; empty if they are few enough.

    Parameters
    ----------
    found
        How many answers hold no text, by why.
    total
        All answers, those with text included.
    remedy
        What to do; empty: what helps against the most frequent kind.
    """
    silent = sum(found.values())
    if not too_many_empty(silent, total):
        return ""
    ordered = sorted(((count, kind) for kind, count in found.items() if count), reverse=True)
    kinds = ", ".join(f"{count} {_WORDS[kind]}" for count, kind in ordered[:2])
    return f"{silent} of {total} answers hold no text ({kinds}): {remedy or REMEDIES[ordered[0][1]]}"
