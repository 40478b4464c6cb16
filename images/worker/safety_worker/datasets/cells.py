"""Cells: what a value in a file means, whichever format it comes from. One table for all of them.

| format | gives |
|---|---|
| JSON, YAML | texts, numbers, truth values, null, NaN, lists, objects |
| CSV, text | texts, and what pandas writes for other types: ``True``, ``1.0``, ``nan``, ``['a', 'b']`` |
| Parquet, Arrow | besides: decimals, bytes, dates, times, maps (pairs), numbers that have a name |

What a text, a number or a name is stands here; categories and labels have modules of their own. Nothing that
was not understood becomes nothing: a :class:`CellError` makes the record malformed, with its reason.

When is a cell missing? Null and NaN always are. The spellings of nothing that pandas and others write
(:data:`NOTHING`) are missing where a cell is a name (label, category, stratum), because nobody names anything
so. A prompt or an answer may be the word ``None``: there they are texts, and a warning says how many.
"""

import datetime as dt
import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from numbers import Integral, Real
from typing import Any, TypeVar

from safety_worker.text import clean, fold, has_lone_surrogates

Read = TypeVar("Read")

MAX_CHARACTERS = 200_000
"""Longer texts are malformed: no model's context takes them, and one of them can block a server."""

NOTHING = frozenset(
    (
        *("", "-", "--", "?", "nan", "-nan", "nat", "na", "n/a", "<na>", "#na", "#n/a", "#n/a n/a", "1.#ind"),
        *("-1.#ind", "1.#qnan", "-1.#qnan", "none", "null", "nil", "\\n", "[]", "{}", "()", "set()"),
        *("\u2013", "\u2014", "n.a.", "(null)", "(none)", "<null>", "<none>", "undefined", "#null!"),
    )
)
"""How pandas, numpy, R, Excel, SQL and people write that a cell is empty, folded."""

MISSING_TEXTS = frozenset({"nan", "NaN", "-nan", "<NA>", "NaT", "None", "null", "NULL", "#N/A"})
"""Texts that are more often a missing cell than a prompt or an answer, as they are written."""


MAX_DIGITS = 18
"""Numbers of more digits are written as they are."""


class CellError(ValueError):
    """A cell cannot be what a field asks for. The message follows the column's name and quotes no cell."""


@dataclass(frozen=True)
class BadCell:
    """A value that its reader could not make sense of; an error only where somebody asks for it."""

    reason: str


NOT_READ = BadCell("was not read, because no field names it")
"""Stands in records for columns that nobody asked for."""


class Named(str):
    """The name of a class that the file holds as a number, such as a ClassLabel of ``datasets``."""

    __slots__ = ("number",)
    number: int


def named(name: str, number: int) -> Named:
    """A name with its number."""
    found = Named(name)
    found.number = number
    return found


_PLAIN = frozenset((str, bool, int, float, type(None), list, dict, tuple))


def plain_value(value: Any) -> Any:
    """The value without the types of libraries: numpy's numbers and arrays, Arrow's scalars, bytes of a text.

    Raises
    ------
    CellError
        If its reader could not make sense of it.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, BadCell):
        raise CellError(value.reason)
    if isinstance(value, bytes):
        return _decoded(value)
    for method in ("tolist", "as_py"):
        if hasattr(value, method):
            return plain_value(getattr(value, method)())
    return value


def _decoded(value: bytes) -> str:
    """The text in a binary cell: files written without marking texts as such have them."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CellError("is bytes that are no UTF-8 text") from None


def read_cell(read: Callable[[Any], Read], fields: Mapping[str, Any], column: str) -> Read:
    """What a column of a record holds; an error names the column.

    Raises
    ------
    CellError
        If the cell cannot be read so.
    """
    try:
        return read(fields.get(column))
    except CellError as error:
        raise CellError(f"{column!r} {error}") from error


def is_null(value: object) -> bool:
    """Whether a value is null or not a number."""
    if isinstance(value, Decimal):
        return value.is_nan()
    return value is None or (isinstance(value, float) and math.isnan(value))


def kind_of(value: object) -> str:
    """What a value is, for messages."""
    if value is None:
        return "null"
    for kinds, words in _KINDS:
        if isinstance(value, kinds):
            return words
    return f"a value of type {type(value).__name__}"


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "a text"),
    (bool, "a truth value"),
    ((Real, Decimal), "a number"),
    (dict, "an object"),
    ((list, tuple, set, frozenset), "a list"),
    ((dt.date, dt.time, dt.timedelta), "a date or time"),
)


def cell_text(value: object) -> str | None:
    """A text for a model; None where there is none.

    Raises
    ------
    CellError
        If the cell is something else, too long, or holds what no UTF-8 file can hold.
    """
    value = plain_value(value)
    if is_null(value):
        return None
    if not isinstance(value, str):
        raise CellError(f"is {kind_of(value)}, not a text")
    if len(value) > MAX_CHARACTERS:
        raise CellError(f"has {len(value)} characters, {MAX_CHARACTERS} are allowed")
    if has_lone_surrogates(value):
        raise CellError("holds lone surrogates, which are no text")
    return value


def name_of(value: object) -> str:
    """A value as a name that every file can hold; empty where there is none.

    Numbers and truth values are written as in JSON, whole numbers without a point, so that ``1``, ``1.0`` and
    ``"1.0"``, or ``true`` and ``"True"``, are the same name in every format.

    Raises
    ------
    CellError
        If it is a list, an object, or bytes that are no UTF-8.
    """
    value = plain_value(value)
    if is_null(value):
        return ""
    if isinstance(value, str):
        return _name_of_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Real | Decimal):
        return _name_of_number(value)
    if isinstance(value, dt.date | dt.time | dt.timedelta | uuid.UUID):
        return str(value)
    raise CellError(f"is {kind_of(value)}, not a name")


@lru_cache(maxsize=4096)
def _name_of_text(text: str) -> str:
    name = clean(text).strip()
    if name.casefold() in {"true", "false"}:
        return name.casefold()
    return str(int(name.partition(".")[0])) if _is_whole(name) else name


def _is_whole(text: str) -> bool:
    """Whether a text is a whole number with zeros behind its point: pandas' way where some are missing."""
    whole, _, zeros = text.partition(".")
    digits = whole.removeprefix("-")
    return bool(zeros) and not zeros.strip("0") and digits.isdecimal() and len(digits) <= MAX_DIGITS


def _name_of_number(number: Real | Decimal) -> str:
    if isinstance(number, Integral):
        return str(int(number))
    exact = Decimal(str(number))
    if not exact.is_finite() or abs(exact.adjusted()) > MAX_DIGITS:
        return str(number)
    return f"{exact:f}".rstrip("0").rstrip(".") if exact != exact.to_integral_value() else str(int(exact))


@lru_cache(maxsize=4096)
def is_nothing(name: str) -> bool:
    """Whether a name means that there is none."""
    return fold(name) in NOTHING


def number_of(value: object) -> float | None:
    """A number, also one that is written as a text; None for anything else, truth values among it."""
    value = plain_value(value)
    if isinstance(value, bool) or not isinstance(value, Real | Decimal | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number
