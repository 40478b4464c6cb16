"""An answer as the judge of refusals reads it: clauses in the assistant's own voice.

Reasoning is left out, what is quoted, code or said by somebody in a dialogue can comply but not decline, and
apostrophes, mark-up, case and accents make no difference. The time is linear: ``LIMIT`` bounds all of it.
"""

import html
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from safety_worker.sentences import split_sentences
from safety_worker.text import normal_form

LIMIT = 4000
"""Characters that are read: a refusal, or the turn away from one, is there."""

QUOTED = "\ue000"
"""Stands, as a word, for what was in quotation marks."""

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u201b\u02bc\u02b9\u00b4\u2032\uff07", "'"))
_BACKTICK = re.compile(r"(?<=\w)`(?=\w)")
_CLOSING = {
    "\u201c": "\u201d",
    "\u201e": "\u201c\u201d",
    "\u00ab": "\u00bb",
    "\u00bb": "\u00ab",
    "\u2039": "\u203a",
}
_CLOSING |= {
    "\u300c": "\u300d",
    "\u300e": "\u300f",
    '"': '"',
    "\u201d": "\u201d",
    "\u201f": "\u201d",
    "`": "`",
}
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,100}>")
_MARKUP = re.compile(r"[*_~]+|^\s*#+\s+")
_LIST = re.compile(r"^\s*(?:(?P<number>\(?\d{1,3}[.):])|[-\u2022\u25cf+])\s+")
_OWN_LABEL = re.compile(
    r"^(?:assistant|ai|bot|answer|response|refusal|reply|model|output)\s*:\s+", re.IGNORECASE
)
_LABEL = re.compile(r"^[^\W\d_a-z][^:?!.,\uff1a]{0,30}[:\uff1a]\s")
_CONJUNCTIONS = (
    "but|so|yet|however|though|pero|mais|aber|ma|mas|maar|men|ale|ama|ancak|nh\u01b0ng|tetapi|tapi"
    "|\u043d\u043e|\u043e\u0434\u043d\u0430\u043a\u043e|\u0430\u043b\u0435"
)
"""But, so, and their like behind a comma, where a clause begins that may take back the one before."""
_CLAUSE = re.compile(
    rf"[;:\u2014\uff1a\uff1b]\s*|\s[\u2013-]\s|,\s*(?=(?:{_CONJUNCTIONS})\s)|[\uff0c\u3001\u060c]"
)
_ACCENTS = re.compile("[\u0300-\u036f\u0640\u064b-\u065f\u0670\u093c]")
_SPACED = re.compile(r"(?<=\w) '(?=(?:t|m|re|ll|ve|d|s)\b)|(?<=\w) (?=n't\b)")


class Clause(NamedTuple):
    """A piece of a sentence as words between single spaces, with one before the first and after the last."""

    words: str
    sentence: int
    """Which sentence it is of, from 0."""
    whole: str
    """That sentence, as words."""
    question: bool = False
    own: bool = True
    """Whether the assistant says it, to the user: not code, a block quote or a line of a dialogue."""
    item: bool = False
    """Whether it begins an item of a numbered list."""
    code: bool = False


def has_words(text: str) -> bool:
    """Whether there is a letter or a digit in what is read."""
    return any(character.isalnum() for character in text[: LIMIT * 2])


def read_clauses(text: str) -> list[Clause]:
    """The clauses of an answer without reasoning, in order."""
    lines = _lines(text)
    found: list[Clause] = []
    sentence = 0
    for line in lines:
        for part in split_sentences(line.text) if not line.code else ("",):
            whole = words(part)
            if not whole.strip() and not line.code:
                continue
            item = line.item
            for piece in _CLAUSE.split(part):
                said = words(piece)
                if said.strip() or line.code:
                    question = part.rstrip().endswith(("?", "\uff1f", "\u061f"))
                    found.append(Clause(said, sentence, whole, question, line.own, item, line.code))
                    item = False
            sentence += 1
    return found


def words(text: str) -> str:
    """Text as words between single spaces: no case, no punctuation at the ends of words.

    Idempotent. Nothing but punctuation gives a single space.
    """
    plain = unicodedata.normalize("NFD", normal_form(text.translate(_APOSTROPHES)).translate(_APOSTROPHES))
    folded = unicodedata.normalize("NFC", plain.casefold())
    kept = (_bare(word) for word in _SPACED.sub(lambda match: match[0].strip(), folded).split())
    return " ".join(["", *filter(None, kept), ""]) or " "


def without_accents(text: str) -> str:
    """Without the marks that people leave out: accents, and vowels in Arabic. Indic vowels stay."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text)))


def _bare(word: str) -> str:
    start, end = 0, len(word)
    while start < end and _is_mark(word[start]):
        start += 1
    while end > start and _is_mark(word[end - 1]):
        end -= 1
    return word[start:end]


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PSC" and character != QUOTED


class _Line(NamedTuple):
    text: str
    own: bool = True
    item: bool = False
    code: bool = False
    labelled: bool = False
    """Whether the assistant's own name stood in front of it."""


def _lines(text: str) -> list[_Line]:
    plain = _TAG.sub(" ", html.unescape(text.lstrip()[:LIMIT]))
    lines = [line for line in _fenced(plain.splitlines()) if line.text.strip() or line.code]
    lines = _unquoted_blocks(lines)
    lines = _without_quotations(lines)
    return list(_dialogue([_structure(line) for line in lines]))


def _fenced(lines: list[str]) -> list[_Line]:
    """Code blocks as a line each, unless all of the answer is one: then what is in it."""
    found: list[_Line] = []
    inside = False
    block: list[str] = []
    for line in lines:
        if line.lstrip().startswith(("```", "~~~")):
            inside = not inside
            if inside:
                found.append(_Line("", own=False, code=True))
        elif inside:
            block.append(line)
        else:
            found.append(_Line(line))
    if block and not any(has_words(line.text) for line in found):
        return [_Line(line) for line in block]
    return found


def _unquoted_blocks(lines: list[_Line]) -> list[_Line]:
    """Lines of a block quote or a table, which are not the assistant's own unless there is nothing else."""
    every = all(line.text.lstrip().startswith(">") for line in lines)
    return [
        line._replace(text=line.text.lstrip(">| "), own=every)
        if line.text.lstrip().startswith((">", "|"))
        else line
        for line in lines
    ]


def _without_quotations(lines: list[_Line]) -> list[_Line]:
    """Quotations as one word each, unless all of the answer is one."""
    texts = [_BACKTICK.sub("'", line.text).translate(_APOSTROPHES) for line in lines]
    bare = [_hide_quotations(text, first=number == 0) for number, text in enumerate(texts)]
    if not any(has_words(_OWN_LABEL.sub("", text.strip())) for text in bare):
        marks = dict.fromkeys(map(ord, "".join(_CLOSING)), " ")
        bare = [text.translate(marks).strip(" '") for text in texts]
    return [line._replace(text=text) for line, text in zip(lines, bare, strict=True)]


def _hide_quotations(text: str, *, first: bool) -> str:
    found: list[str] = []
    at = 0
    while at < len(text):
        closing = _CLOSING.get(text[at]) or ("'" if _opens_single(text, at) else "")
        end = _end_of_quotation(text, at, closing) if closing else -1
        if not closing or (end < 0 and (text[at] in "'`" or (first and not "".join(found).strip()))):
            found.append(" " if closing and text[at] != "'" else text[at])
            at += 1
            continue
        found.append(f" {QUOTED} ")
        at = end + 1 if end >= 0 else len(text)
    return "".join(found)


def _opens_single(text: str, at: int) -> bool:
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    return text[at] == "'" and not before.isalnum() and before != "'" and after.isalnum()


def _end_of_quotation(text: str, at: int, closing: str) -> int:
    """Where it ends, -1 if it does not. A single mark within a word is an apostrophe."""
    for end in range(at + 1, len(text)):
        if text[end] in closing and not (closing == "'" and text[end + 1 : end + 2].isalnum()):
            return end
    return -1


def _structure(line: _Line) -> _Line:
    """Without mark-up, own label and list mark."""
    text = _MARKUP.sub(" ", line.text)
    mark = _LIST.match(text)
    if mark:
        return line._replace(text=text[mark.end() :], item=bool(mark["number"]))
    bare, labels = _OWN_LABEL.subn("", text.strip())
    return line._replace(text=bare, labelled=labels > 0)


def _dialogue(lines: list[_Line]) -> Iterator[_Line]:
    """Lines with a speaker are not the assistant's own, where there are at least two.

    Its own name once is no speaker; twice, it goes on with a conversation that nobody had.
    """
    labels = sum(line.labelled for line in lines)
    spoken = [bool(_LABEL.match(line.text)) or (line.labelled and labels > 1) for line in lines]
    several = sum(spoken) > 1
    for line, is_spoken in zip(lines, spoken, strict=True):
        yield line._replace(own=line.own and not (several and is_spoken))
