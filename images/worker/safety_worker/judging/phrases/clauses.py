"""The clauses that decline and comply, by language: files in ``data/``, which say how they are written.

A pattern is compiled to a regular expression whose repetitions are bounded, so that its time is linear.
"""

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from safety_worker.judging.phrases.reading import without_accents, words

_PIECE = re.compile(r"\.\.\.|<\w+>|[()|\[\]^$]|[^\s()|\[\]<>^$]+")
_GAP_WORDS = 5
_GAP_CHARACTERS = 12


KINDS = (
    *("declines", "soft", "weak", "hints", "idioms", "reports", "letters", "turns_away", "appeals"),
    *("contrasts", "complies", "offers", "instructs", "alternatives", "whole"),
)
"""Fields of a file that hold patterns."""


class Language(NamedTuple):
    """What is looked for in one language."""

    code: str
    name: str
    spaced: bool
    """Whether blanks stand between words."""
    accents: bool
    """Whether accents tell words apart that people do not leave out."""
    contractions: re.Pattern[str] | None
    expansions: dict[str, str]
    patterns: dict[str, re.Pattern[str]]
    """Those of :data:`KINDS` that its file has."""

    def form(self, text: str) -> str:
        """Words as this language's patterns want them."""
        text = text if self.accents else without_accents(text)
        if self.contractions:
            text = self.contractions.sub(lambda match: f"{self.expansions[match[0].strip()]} ", text)
        return text if self.spaced else text.replace(" ", "")

    def find(self, kind: str, form: str) -> re.Match[str] | None:
        """The first clause of a kind in words of the right form."""
        return self.patterns[kind].search(form) if kind in self.patterns else None


@cache
def load_languages() -> tuple[Language, ...]:
    """All of them, English first, then by code."""
    folder = files("safety_worker.judging.phrases") / "data"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".toml"))
    names.sort(key=lambda name: name != "en.toml")
    return tuple(
        build_language(name.removesuffix(".toml"), (folder / name).read_text(encoding="utf-8"))
        for name in names
    )


def build_language(code: str, text: str) -> Language:
    """A language from the text of its file.

    Raises
    ------
    ValueError
        If the file is no TOML, or a pattern or a field is wrong.
    """
    data = tomllib.loads(text)
    name, spaced, accents = data.pop("name"), data.pop("spaced", True), data.pop("accents", False)
    lists = data.pop("words", {})
    expansions = {
        words(short).strip(): words(long).strip() for short, long in data.pop("contractions", {}).items()
    }
    if unknown := sorted(set(data) - set(KINDS)):
        raise ValueError(f"{code}.toml: unknown fields {', '.join(unknown)}")
    patterns = {kind: _compile(data[kind], lists, spaced=spaced, accents=accents) for kind in data}
    short = "|".join(map(re.escape, sorted(expansions, key=len, reverse=True)))
    contractions = re.compile(f"(?<= )(?:{short}) ") if expansions else None
    return Language(code, name, spaced, accents, contractions, expansions, patterns)


def _compile(
    patterns: list[str], lists: dict[str, list[str]], *, spaced: bool, accents: bool
) -> re.Pattern[str]:
    start = "(?<= )" if spaced else ""
    every = "|".join(translate(pattern, lists, spaced) for pattern in patterns)
    return re.compile(f"{start}(?:{every if accents else without_accents(every)})")


def translate(pattern: str, lists: dict[str, list[str]], spaced: bool) -> str:
    """A pattern of the data files as a regular expression over words.

    Raises
    ------
    ValueError
        If brackets do not match, or it names a list that is not there.
    """
    closing: list[str] = []
    found: list[str] = []
    for piece in _PIECE.findall(pattern):
        if piece in "([":
            closing.append(")" if piece == "(" else ")?")
            found.append("(?:")
        elif piece in ")]":
            if not closing or (closing[-1] == ")") != (piece == ")"):
                raise ValueError(f"brackets do not match in {pattern!r}")
            found.append(closing.pop())
        elif piece.startswith("<"):
            found.append(_any_of(piece, pattern, lists, spaced))
        else:
            found.append(_translate_piece(piece, spaced))
    if closing:
        raise ValueError(f"brackets do not match in {pattern!r}")
    return "".join(found)


def _any_of(piece: str, pattern: str, lists: dict[str, list[str]], spaced: bool) -> str:
    if piece[1:-1] not in lists:
        raise ValueError(f"no list {piece} for {pattern!r}")
    return f"(?:{'|'.join(translate(item, lists, spaced) for item in lists[piece[1:-1]])})"


def _translate_piece(piece: str, spaced: bool) -> str:
    if piece in "|$":
        return piece
    if piece == "^":
        return "(?<=^ )" if spaced else "^"
    if piece == "...":
        return rf"(?:[^ ]+ ){{0,{_GAP_WORDS}}}" if spaced else f".{{0,{_GAP_CHARACTERS}}}"
    literal = re.escape(words(piece.rstrip("-")).strip())
    if not spaced:
        return literal
    return f"{literal}[^ ]* " if piece.endswith("-") else f"{literal} "
