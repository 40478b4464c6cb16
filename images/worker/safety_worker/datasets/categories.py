"""Categories of a record: from a list, a text that lists them, flags by name, or the number of a class."""

import ast
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from safety_worker.datasets.cells import CellError, is_nothing, is_null, kind_of, name_of, plain_value
from safety_worker.datasets.decoding import load_json
from safety_worker.text import fold

MAX_LITERAL = 20_000
"""Characters of a list that is written as a text."""

MAX_DEPTH = 50
"""Lists inside lists: Python's own parser can crash on many more."""

_FLAGS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "1", "yes", "y", "t", "on"), True),
    **dict.fromkeys(("false", "0", "no", "n", "f", "off", ""), False),
}
"""Truth values as formats and people write them, folded."""

_WRAPPED = re.compile(
    r"(?:array|set|frozenset|list|tuple|deque|Index|OrderedDict|dict_keys|dict_values)"
    r"\((.*?)(?:,\s*dtype=[\w.'\"<>]+)?\)",
    re.DOTALL,
)
_NUMPY_SCALARS = re.compile(r"\bnp\.(?:str_|bool_?|u?int\d+|float\d+)\(([^()]*)\)|\bnp\.(True|False)_")
"""Values inside lists as numpy 2 writes them."""
_NUMPY_TEXTS = re.compile(r"""\[\s*(?:(?:'[^'\\]*'|"[^"\\]*")\s*)+\]""")
_NUMPY_NUMBERS = re.compile(r"\[\s*[-+.e\d]+(?:\s+[-+.e\d]+)*\s*\]")
_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
_TOKEN = re.compile(
    r"""\s+|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[-+]?(?:\d[\w.]*|\.\d+)|True|False|None|nan|[\[\]{}(),:]""",
    re.DOTALL,
)
_BEGINNINGS = ("['", '["', "{'", '{"')
_QUOTES = ("'", '"')
_BARE = re.compile(r"""[\[{]([^\[\]{}'":]*)[\]}]""")
_STRONG, _WEAK = re.compile("[;|\uff1b\n]"), re.compile("[,\uff0c\u3001\u060c]")
"""Between names in a text: where one of the first is there, commas are part of names."""


def categories_of(value: object) -> tuple[str, ...]:
    """Categories, sorted, without duplicates; none where the cell says that there is none.

    Raises
    ------
    CellError
        If it is not known how to read them.
    """
    value = plain_value(value)
    if isinstance(value, str):
        return _in_text(value)
    if type(value) is list and all(type(item) is str for item in value):
        return _in_list(tuple(value))
    return _sorted(_names(value))


@lru_cache(maxsize=1024)
def _in_list(names: tuple[str, ...]) -> tuple[str, ...]:
    return _sorted(map(name_of, names))


@lru_cache(maxsize=1024)
def _in_text(text: str) -> tuple[str, ...]:
    listed = literal_of(text)
    return _sorted(split_names(text) if listed is None else _names(listed))


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({name for name in names if not is_nothing(name)}))


def split_names(text: str) -> list[str]:
    """The names that a text lists, by semicolons, bars, lines or else commas."""
    mark = _STRONG if _STRONG.search(text) else _WEAK
    return [name_of(part) for part in mark.split(text)]


def literal_of(text: str, limit: int = MAX_LITERAL) -> Any:
    """The list or object in a text, as JSON, Python, pandas, numpy or a database writes it; None: it is none.

    Raises
    ------
    CellError
        If it begins like one and cannot be read, or has more than ``limit`` characters.
    """
    text = text.strip()
    wrapped = _WRAPPED.fullmatch(text)
    text = wrapped[1].strip() if wrapped else text
    if not text or text[0] + text[-1] not in {"[]", "{}", "()"}:
        if text[:2] in _BEGINNINGS:
            raise CellError("begins like a list and has no end")
        return None
    if len(text) > limit:
        raise CellError(f"is a list of {len(text)} characters, {limit} are allowed")
    for read in (load_json, _numpy, _python):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    if bare := _BARE.fullmatch(text):
        return bare[1].split(",")
    if text[0] == "(":
        return None
    raise CellError("looks like a list, and is none that can be read")


def _numpy(text: str) -> list[Any]:
    """An array as numpy prints it, without commas: Python would read its texts as one."""
    if _NUMPY_TEXTS.fullmatch(text):
        return [one or other for one, other in _QUOTED.findall(text)]
    if _NUMPY_NUMBERS.fullmatch(text):
        return [float(number) for number in text[1:-1].split()]
    raise ValueError("no array")


def _python(text: str) -> Any:
    """A literal of Python's; NaN in it is None."""
    text = _NUMPY_SCALARS.sub(lambda found: found[1] or found[2], text)
    parts, place, depth = [""], 0, 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        depth += 0 if token is None else (token[0] in "[{(") - (token[0] in "]})")
        if token is None or depth > MAX_DEPTH or (parts[-1][-1:] in _QUOTES and token[0][0] in _QUOTES):
            raise ValueError("no literal")
        parts += [] if token[0].isspace() else ["None" if token[0] == "nan" else token[0]]
        place = token.end()
    return ast.literal_eval(" ".join(parts).strip())


def _names(value: Any) -> list[str]:
    if is_pairs(value):
        value = dict(value)
    if isinstance(value, Mapping):
        return flags_of(value)
    if not isinstance(value, list | tuple | set | frozenset):
        return [name_of(value)]
    items = [plain_value(item) for item in value]
    if any(isinstance(item, bool) for item in items) or (
        len(set(map(repr, items))) < len(items) and {name_of(item) for item in items} <= {"0", "1"}
    ):
        raise CellError("is a list of flags, which does not say what they stand for")
    if any(isinstance(item, float) and not is_null(item) and not item.is_integer() for item in items):
        raise CellError("is a list of scores, which does not say what they stand for")
    return [name_of(item) for item in items]


def is_pairs(value: object) -> bool:
    """Whether a value is a map of Parquet: pairs of a key, which is no list or object, and a value."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, tuple) and len(item) == 2 for item in value)  # noqa: PLR2004
        and not any(isinstance(key, list | dict | tuple | set) for key, _ in value)
    )


def flags_of(value: Mapping[Any, Any]) -> list[str]:
    """The names whose flag is set.

    Raises
    ------
    CellError
        If a value is no flag.
    """
    return [name_of(name) for name, flag in value.items() if flag_of(flag)]


def flag_of(value: object) -> bool:
    """A truth value, however it is written; null is false.

    Raises
    ------
    CellError
        If it is something else, such as a score.
    """
    value = plain_value(value)
    name = "" if isinstance(value, Mapping | list | tuple | set) else fold(name_of(value))
    found = _FLAGS.get(name)
    if found is None or isinstance(value, Mapping | list | tuple | set):
        raise CellError(f"is an object with {kind_of(value)} where a flag should be")
    return found


def texts_of(value: object) -> frozenset[str]:
    """What a filter compares a cell as: its name, and those of its items, folded; nothing for null.

    Raises
    ------
    CellError
        If its reader could not make sense of it, or it is an object without flags.
    """
    value = plain_value(value)
    if isinstance(value, str):
        return frozenset((fold(name_of(value)), *_listed(value), *_number(value)))
    if is_null(value):
        return frozenset()
    listed = value if isinstance(value, list | tuple) else [value]
    return frozenset((*map(fold, _items(value)), *(number for item in listed for number in _number(item))))


def _items(value: Any) -> Iterable[str]:
    if is_pairs(value) or isinstance(value, Mapping):
        return _names(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [name_of(item) for item in value if not is_null(item)]
    return [name_of(value)]


def _listed(text: str) -> Iterable[str]:
    """Names in a text that holds a list; one that only looks so is compared as it is."""
    try:
        listed = literal_of(text)
        return [] if listed is None else list(map(fold, _items(listed)))
    except CellError:
        return []


def _number(name: Any) -> Iterable[str]:
    """The number of a class that has a name."""
    number = getattr(name, "number", None)
    return [] if number is None else [str(number)]


def stratum_name(value: object) -> str:
    """The stratum that a cell puts its row into: its name, or those of its items; empty where it has none."""
    value = plain_value(value)
    listed = _listed(value) if isinstance(value, str) else ()
    if listed or (not isinstance(value, str) and not is_null(value)):
        name = ", ".join(sorted(set(listed or _items(value))))
    else:
        name = name_of(value)
    return "" if is_nothing(name) else name
