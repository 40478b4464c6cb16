"""The one reader of judges' outputs: general models decorate what they say, and it is read all the same.

Read are code fences, bold type, headings, bullets, carriage returns, full-width and curly characters, JSON
with single quotes, bare words, another spelling of a key or a comma too many, reasoning or a sentence before
the verdict, and ``5/5``. Refused is whatever may mean two things: a label that is there twice, another
verdict behind the first, JSON that was cut off. Outputs are hostile: nothing is evaluated, and nothing here
takes more than linear time.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

ENDS = ("</think>", "</thinking>", "[/THINK]", "<|channel|>final<|message|>")
STARTS = ("<think>", "<thinking>", "[THINK]", "<|channel|>analysis")
"""Marks around reasoning, of one model or another."""

EDGES = " \t\n.,;:!|\"'()[]<>"
"""What may stand around a verdict."""

_ODD = str.maketrans(
    dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", '"')
    | dict.fromkeys("\u2018\u2019\u201a\u201b\u2039\u203a\u2032", "'")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad")
)
"""Quotation marks of all kinds, and characters without width."""
_TOKENS = re.compile(r"</?s>|<\|[a-z_]{1,30}\|>|<(?:end|start)_of_turn>", re.IGNORECASE)
"""Control tokens that a server left in."""
_LANGUAGE = "(?:json5?|text|txt|plain|plaintext|python|ya?ml|markdown|md|xml|html)?"
_FENCE = re.compile(rf"^[ \t]*(?:```|~~~){_LANGUAGE}[ \t]*$", re.MULTILINE | re.IGNORECASE)
_INLINE_FENCE = re.compile(rf"```{_LANGUAGE}", re.IGNORECASE)
_TYPE = re.compile(r"[*`]")
"""Bold, italic and code."""
_JSON_TOKEN = re.compile(
    r'(?P<double>"(?:[^"\\]|\\.)*")'
    r"|(?P<single>'(?:[^'\\]|\\.)*')"
    r"|(?P<surplus>,\s*(?=[}\]]))"
    r"|(?P<mark>[{}\[\]:,]|\s+)"
    r"|(?P<word>[^\s{}\[\]:,\"']+(?:[ \t]+[^\s{}\[\]:,\"']+)*)"
    r"|(?P<odd>.)",
    re.DOTALL,
)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,30})(?:\.\d{1,30})?")
_WORDS = {"true": "true", "false": "false", "none": "null", "null": "null"}
"""Values without quotes, of JSON and Python."""


class Found(NamedTuple):
    """What an output holds."""

    values: dict[str, str]
    """By folded name."""
    after: str
    """What comes behind the last of them."""


def after_reasoning(output: str) -> str | None:
    """What follows the reasoning; None if the reasoning never ends."""
    last = max((output.rfind(end) + len(end) for end in ENDS if end in output), default=0)
    if not last and any(start in output for start in STARTS):
        return None
    return output[last:]


def plain(output: str) -> str | None:
    """The output behind its reasoning, in plain characters and lines; None if the reasoning never ends."""
    text = after_reasoning(output)
    if text is None:
        return None
    lines = unicodedata.normalize("NFKC", text.translate(_ODD)).translate(_ODD).replace("\r\n", "\n")
    return _TOKENS.sub("", lines.replace("\r", "\n")).strip()


def undecorated(text: str) -> str:
    """A plain text without fences and type."""
    return _TYPE.sub("", _FENCE.sub("", text)).strip()


def word(text: str) -> str:
    """A verdict in one word, in lower case and without what stands around it."""
    return undecorated(unicodedata.normalize("NFKC", text)).strip(EDGES).casefold()


def fold(name: str) -> str:
    """A name in the spelling in which names are compared: letters and digits."""
    return "".join(filter(str.isalnum, name.casefold()))


def read_fields(output: str, names: Sequence[str]) -> Found | None:
    """Values of names, from a JSON object or from lines such as ``Name: value``.

    Returns
    -------
    Found | None
        None if a name is there twice, or an object cannot be read: it may have been cut off.
    """
    text = plain(output)
    if text is None:
        return None
    if "{" not in text:
        return _in_lines(undecorated(text), names)
    value, after = read_json(text)
    if not isinstance(value, dict):
        return None
    pairs = [(fold(key), scalar(item)) for key, item in value.items()]
    known = {fold(name) for name in names}
    return _once([(key, item) for key, item in pairs if key in known and item is not None], after)


def _in_lines(text: str, names: Sequence[str]) -> Found | None:
    spelt = "|".join(r"[\s_-]*".join(map(re.escape, name.split())) for name in names)
    marks = list(re.finditer(rf"(?<!\w)({spelt})[\"']?\s*[:=]", text, re.IGNORECASE))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    found, after = [], ""
    for mark, end in zip(marks, ends, strict=False):  # without any mark there is an end too many
        value, after = first_line(text[mark.end() : end])
        found.append((fold(mark[1]), value))
    return _once(found, after)


def first_line(text: str) -> tuple[str, str]:
    """The first line with anything in it, and what follows."""
    line, _, after = text.lstrip().partition("\n")
    return line, after


def _once(pairs: Iterable[tuple[str, str]], after: str) -> Found | None:
    given = list(pairs)
    values = dict(given)
    return Found(values, after) if len(values) == len(given) else None


def says_other(text: str, words: Iterable[str]) -> bool:
    """Whether a text has one of some words."""
    return any(re.search(rf"(?<!\w){re.escape(item)}(?!\w)", text, re.IGNORECASE) for item in words if item)


def read_json(text: str) -> tuple[Any, str]:
    """The JSON value in a plain text, and what stands behind it; None for none, for two, or a key twice."""
    bare = _INLINE_FENCE.sub("", _FENCE.sub("", text)).strip()
    value = _loads(bare)
    if value is not None:
        return value, ""
    start, end = bare.find("{"), bare.rfind("}") + 1
    return (_loads(bare[start:end]), bare[end:]) if 0 <= start < end else (None, "")


def scalar(value: object) -> str | None:
    """A JSON scalar as the text that it has in JSON, a whole number without a fraction; else None."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else None


def _loads(text: str) -> Any:
    for spelling in (text, _strict(text)):
        try:
            return json.loads(spelling, strict=False, object_pairs_hook=_unique)
        except (ValueError, RecursionError):
            continue
    return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len({fold(key) for key in found}) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _strict(text: str) -> str:
    """JSON of a text that only nearly is; empty for one that is not."""
    parts = []
    for token in _JSON_TOKEN.finditer(text):
        kind, said = token.lastgroup, token.group()
        if kind == "odd":
            return ""
        if kind == "single":
            said = json.dumps(said[1:-1].replace("\\'", "'"))
        elif kind == "word":
            said = said if _NUMBER.fullmatch(said) else _WORDS.get(said.lower()) or json.dumps(said)
        parts.append("" if kind == "surplus" else said)
    return "".join(parts)
