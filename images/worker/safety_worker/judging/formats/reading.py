"""The one reader of judges' outputs: general models decorate what they say, and it is read all the same.

Read are code fences, bold type, headings, bullets, carriage returns, full-width and curly characters, digits
of all scripts, XML elements, JSON within other JSON, with single quotes, bare words, another spelling of a
key or a comma too many, reasoning or a sentence before the verdict, and ``5/5``. Refused is whatever may mean
two things: a label that is there twice, that is a part of a longer word, or that is denied, another verdict
behind the first, JSON that was cut off. Outputs are hostile: nothing is evaluated, and nothing here takes
more than linear time.
"""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

ENDS = ("</think>", "</thinking>", "[/THINK]", "<|channel|>final<|message|>")
STARTS = ("<think>", "<thinking>", "[THINK]", "<|channel|>analysis")
"""Marks around reasoning, of one model or another."""

EDGES = " \t\n.,;:!|\"'()[]<>"
"""What may stand around a verdict."""

_ODD = str.maketrans(
    dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", '"')
    | dict.fromkeys("\u2018\u2019\u201a\u201b\u2039\u203a\u2032", "'")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad\ufe0f\u20e3")
)
"""Quotation marks of all kinds, characters without width, and the key around a digit."""
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
_ELEMENT = re.compile(r"<([a-z][\w -]{0,30})>([^<>]*)</\1>", re.IGNORECASE)
"""An XML element without others in it."""
_DIGIT = re.compile(r"(?![0-9])\d")
_LETTER = "[0-9A-Za-z\u00aa-\u0dff]"
"""Letters and digits of scripts that put blanks between words."""
_GOES_ON = re.compile(rf"{_LETTER}|[-']{_LETTER}|[.,]\d")
_CHOICE = re.compile(r"\s*/\s*[^\W\d_]|(?<=\d)\s*(?:[-\u2013]|to)\s*\d|\s+or\s", re.IGNORECASE)
_BEGAN = re.compile(rf"(?:{_LETTER}[-']?|\d[.,])\Z")
_NOT = r"(?:(?<!\w)(?:not|never|hardly|no longer|neither|nor)|n't)\W{1,6}(?:\w+\W{1,3}){0,2}"
_DENIED = re.compile(rf"(?:{_NOT}|[\u4e0d\u975e\u672a])\Z", re.IGNORECASE)
"""What denies the word behind it; the last three are Chinese and Japanese."""
_WORDS = {"true": "true", "false": "false", "none": "null", "null": "null"}
"""Values without quotes, of JSON and Python."""


class Found(NamedTuple):
    """What an output holds."""

    values: dict[str, str]
    """By folded name."""
    after: str
    """What comes behind the last of them."""

    def word(self, name: str) -> str:
        """The value of a name in one word; empty if there is none."""
        return word(self.values.get(fold(name), ""))

    def verdict(self, name: str, words: Collection[str]) -> str:
        """The value of a name as one of some words; empty where it is none, or is taken back later."""
        said = self.word(name)
        others = [other for other in words if other != said]
        takes_back = denies(self.after, said) or says_any(self.after, others)
        return said if said in words and not takes_back else ""


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
    return _TOKENS.sub("", _usual(text).replace("\r\n", "\n").replace("\r", "\n")).strip()


def _usual(text: str) -> str:
    """The text in ASCII's characters, where it has them."""
    usual = unicodedata.normalize("NFKC", text.translate(_ODD)).translate(_ODD)
    return _DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), usual)


def undecorated(text: str) -> str:
    """A plain text without fences and type."""
    return _TYPE.sub("", _FENCE.sub("", text)).strip()


def word(text: str) -> str:
    """A verdict in one word, in lower case and without what stands around it."""
    return undecorated(_usual(text)).strip(EDGES).casefold()


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
        return _in_lines(undecorated(elements_as_lines(text)), names)
    value, after = read_json(text)
    known = {fold(name) for name in names}
    pairs = [(fold(key), scalar(item)) for key, item in members(value)]
    return _once([(key, item) for key, item in pairs if key in known and item is not None], after)


def elements_as_lines(text: str) -> str:
    """The text with ``name: value`` on a line of its own for each XML element."""
    return _ELEMENT.sub(r"\n\1: \2\n", text)


def members(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of all objects in a JSON value, however deep they are."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            yield from item.items()
            rest.extend(item.values())
        elif isinstance(item, list):
            rest.extend(item)


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


def says_any(text: str, words: Iterable[str]) -> bool:
    """Whether a text has one of some words."""
    return any(re.search(rf"(?<!\w){re.escape(item)}(?!\w)", text, re.IGNORECASE) for item in words if item)


def denies(text: str, said: str) -> bool:
    """Whether a text says that it is not what was said."""
    return bool(said) and bool(re.search(rf"{_NOT}{re.escape(said)}(?!\w)", text, re.IGNORECASE))


def is_part(match: re.Match[str]) -> bool:
    """Whether a match is a part of a longer word or number: the ``no`` of ``nothing``, the 1 of 1.5."""
    before = match.string[max(match.start() - 2, 0) : match.start()]
    choice = _CHOICE.match(match.string, match.end())
    goes_on = None if choice else _GOES_ON.match(match.string, match.end())
    return bool(match.group() and (_BEGAN.search(before) or goes_on))


def is_doubtful(match: re.Match[str], group: int) -> bool:
    """Whether the group of a match is denied, or one of several to choose from: ``not safe``, ``1 to 5``."""
    start = match.start(group)
    denied = "not" not in match.re.pattern and _DENIED.search(match.string[max(start - 60, 0) : start])
    return bool(denied or _CHOICE.match(match.string, match.end()))


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
