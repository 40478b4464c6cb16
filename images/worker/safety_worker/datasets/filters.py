"""Filters: which records of a source are wanted, by the values of their own columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from safety_records.stages import RowFilter


def left_out(fields: Mapping[str, Any], filters: Sequence[RowFilter]) -> str:
    """Why a record is left out; empty if every filter lets it through. Never quotes a cell.

    A cell matches a value of ``any_of`` or ``none_of`` as text, whatever its case and the space around it; a
    list matches if one of its items does. A cell that is absent or null matches nothing, and is no number.
    """
    for item in filters:
        cell = fields.get(item.column)
        if item.any_of or item.none_of:
            have = texts_of(cell)
            if item.any_of and not have & _folded(item.any_of):
                return f"{item.column} is none of {', '.join(item.any_of)}"
            if have & _folded(item.none_of):
                return f"{item.column} is one of {', '.join(item.none_of)}"
        if item.at_least is None and item.at_most is None:
            continue
        number = _number(cell)
        if number is None:
            return f"{item.column} is no number"
        if item.at_least is not None and number < item.at_least:
            return f"{item.column} is below {item.at_least:g}"
        if item.at_most is not None and number > item.at_most:
            return f"{item.column} is above {item.at_most:g}"
    return ""


def filter_words(item: RowFilter) -> str:
    """What a filter asks for."""
    asked = []
    if item.any_of:
        asked.append(f"one of {', '.join(item.any_of)}")
    if item.none_of:
        asked.append(f"none of {', '.join(item.none_of)}")
    if item.at_least is not None:
        asked.append(f"at least {item.at_least:g}")
    if item.at_most is not None:
        asked.append(f"at most {item.at_most:g}")
    return f"{item.column} is {' and '.join(asked)}"


def texts_of(cell: object) -> frozenset[str]:
    """What a cell is compared as."""
    if isinstance(cell, str):
        return frozenset((cell.strip().casefold(),))
    if cell is None:
        return frozenset()
    items = cell if isinstance(cell, list | tuple) else (cell,)
    return frozenset(_text(item) for item in items if item is not None)


def _text(item: object) -> str:
    """JSON's words for true and false, and whole numbers without a point."""
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, float) and item.is_integer():
        return str(int(item))
    return str(item).strip().casefold()


def _folded(values: Sequence[str]) -> frozenset[str]:
    return frozenset(value.strip().casefold() for value in values)


def _number(cell: object) -> float | None:
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return None
    try:
        number = float(cell)
    except (ValueError, OverflowError):
        return None
    return number if number == number else None  # noqa: PLR0124 - not a number is no number
