"""Filters: which records of a source are wanted, by the values of their own columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from safety_records.data import RowFilter
from safety_worker.datasets.categories import texts_of
from safety_worker.datasets.cells import name_of, number_of, read_cell
from safety_worker.text import fold


def why_left_out(fields: Mapping[str, Any], filters: Sequence[RowFilter]) -> str:
    """Why a record is left out; empty if every filter lets it through. Never quotes a cell.

    A cell matches a value of ``any_of`` or ``none_of`` by its name (``cells.py``), whatever its case and the
    space around it; a list matches if one of its items does, flags if one of them is set. A cell that is
    absent or null matches nothing, and is no number.

    Raises
    ------
    CellError
        If a cell cannot be compared.
    """
    for item in filters:
        if item.any_of or item.none_of:
            have = read_cell(texts_of, fields, item.column)
            if item.any_of and not have & _folded(item.any_of):
                return f"{item.column} is none of {', '.join(item.any_of)}"
            if have & _folded(item.none_of):
                return f"{item.column} is one of {', '.join(item.none_of)}"
        if item.at_least is None and item.at_most is None:
            continue
        number = read_cell(number_of, fields, item.column)
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


def _folded(values: Sequence[str]) -> frozenset[str]:
    return frozenset(fold(name_of(value)) for value in values)
