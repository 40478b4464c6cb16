"""Writing to a terminal or a pipe: colours where they are wanted, columns that fit, and no text that acts.

Colours, the ``NO_COLOR`` convention and widths are rich's. Text of resources comes from models, data sets and
pods: :func:`clean` shows what a terminal would obey.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 10_000
"""Columns of what is no terminal: lines stay whole for grep."""
MAX_MARKS = 2
"""Combining marks on one character; more of them paint over the lines above and below."""
GAP = 2
"""Spaces between columns."""

STYLES = {
    "True": "green",
    "False": "red",
    "Unknown": "yellow",
    "Succeeded": "green",
    "Serving": "green",
    "Running": "cyan",
    "Failed": "red",
    "Stalled": "red",
    "Waiting": "yellow",
    "Pending": "yellow",
    "Suspended": "yellow",
}
"""Colour of a word."""


def make_console(*, error: bool = False) -> Console:
    """A console for standard output or standard error; plain where that is no terminal."""
    console = Console(stderr=error, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def clean(text: object, *, lines: bool = False) -> str:
    r"""The text with everything that a terminal obeys made visible.

    Parameters
    ----------
    text
        Anything; its ``str`` is taken.
    lines
        Whether line feeds stay. Tabs become spaces either way.

    Returns
    -------
    str
        Control, format (bidirectional overrides, zero-width) and unassigned characters as ``\x1b`` or
        ``\u202e``; more than two combining marks on a character are cut.
    """
    parts: list[str] = []
    marks = 0
    for character in str(text):
        category = unicodedata.category(character)
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        if marks > MAX_MARKS:
            continue
        if character == "\t":
            parts.append("    ")
        elif character == "\n" and lines:
            parts.append(character)
        elif category[0] == "C" or category in {"Zl", "Zp"}:
            parts.append(_escaped(ord(character)))
        else:
            parts.append(character)
    return "".join(parts)


def _escaped(code: int) -> str:
    if code <= 0xFF:  # noqa: PLR2004 - two digits are enough
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four digits are enough


def word(text: object, style: str | None = None) -> Text:
    """Cleaned text in the colour of its meaning, or in the given one."""
    cleaned = clean(text)
    return Text(cleaned, style=STYLES.get(cleaned, "") if style is None else style)


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table."""

    title: str
    cells: Sequence[Text]
    drop: int = 0
    """How soon it is left out where a terminal is narrow: the highest number first; 0: never."""
    right: bool = False
    shrink: bool = False
    """Whether it may be cut with an ellipsis once nothing is left to drop."""

    @property
    def width(self) -> int:
        """Cells that it takes."""
        return max([cell_len(self.title), *(cell_len(cell.plain) for cell in self.cells)])


def fit(columns: Sequence[TableColumn], width: int) -> list[TableColumn]:
    """The columns that have room, in their order; empty ones are left out."""
    filled = [column for column in columns if any(cell.plain for cell in column.cells)]
    kept = [column for column in filled if not column.drop]
    for column in sorted((item for item in filled if item.drop), key=lambda item: item.drop):
        if natural_width([*kept, column]) <= width:
            kept.append(column)
    return [column for column in filled if column in kept]


def natural_width(columns: Sequence[TableColumn]) -> int:
    """Cells that all columns take, with the gaps between them."""
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)


def build_table(columns: Sequence[TableColumn], width: int) -> Table:
    """A table of what fits, in the manner of kubectl: no lines, headings in capitals."""
    kept = fit(columns, width)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold", show_edge=False)
    excess = max(0, natural_width(kept) - width)
    for index, column in enumerate(kept):
        room = column.width - excess if column.shrink else None
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            max_width=max(8, room) if room is not None else None,
            min_width=None if column.shrink else column.width,
        )
        if index == len(kept) - 1:
            table.columns[-1].min_width = None
    for row in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*row)
    return table
