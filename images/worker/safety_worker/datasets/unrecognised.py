"""Cells that were read and not understood: counted while rows pass, one warning each for a data set."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

Kind = Literal["unknown", "divided", "nothing"]
"""unknown: a label without a meaning; divided: several labels in a cell, without a majority; nothing: a text
that is more often a missing cell (``nan``)."""

SHOWN, SHOWN_CHARACTERS, MAX_VALUES = 5, 20, 20
"""Values that a message shows, and their length; where there are more or longer ones the column holds no
labels, and what it holds may be anybody's words."""


class UnrecognisedCell(NamedTuple):
    """What was not understood of a row."""

    kind: Kind
    field: str
    """Of columns: ``promptLabel``."""
    column: str
    value: str = ""
    """The label, folded."""


class Unrecognised:
    """Counts them."""

    def __init__(self) -> None:
        self._rows: Counter[UnrecognisedCell] = Counter()

    def add(self, cells: Iterable[UnrecognisedCell]) -> None:
        """Those of a row. Of many different labels only the first are kept apart."""
        for cell in cells:
            known = cell in self._rows or len(self._rows) <= 4 * MAX_VALUES
            self._rows[cell if known else cell._replace(value=HIDDEN)] += 1

    def words(self) -> Iterator[str]:
        """A sentence for each kind and column."""
        places = {cell._replace(value=""): None for cell in self._rows}
        for place in places:
            values = {
                cell.value: rows for cell, rows in self._rows.items() if cell._replace(value="") == place
            }
            count, column = sum(values.values()), f"column {place.column!r}"
            if place.kind == "unknown":
                effect = (
                    "they count as unsafe" if place.field == "promptLabel" else "their rows are no fallback"
                )
                yield (
                    f"{count} labels in {column}{shown_values(values)} have no known meaning, so that "
                    f"{effect}: say what they mean in columns.labels"
                )
            elif place.kind == "divided":
                yield f"{count} cells of {column} hold labels without a majority, which count as none"
            else:
                yield (
                    f"{count} cells of {column} are a word for a missing cell, such as nan or None, and "
                    "were read as texts: leave such cells empty"
                )


HIDDEN = "." * (SHOWN_CHARACTERS + 1)
"""Stands for all values from some number on."""


def shown_values(values: Iterable[str]) -> str:
    """Some values in brackets, if all of them look like labels; else how many there are."""
    ordered = sorted(values)
    if len(ordered) > MAX_VALUES or any(len(value) > SHOWN_CHARACTERS for value in ordered):
        return f" ({min(len(ordered), MAX_VALUES)} or more different values)"
    more = ", ..." if len(ordered) > SHOWN else ""
    return f" ({', '.join(map(repr, ordered[:SHOWN]))}{more})"
