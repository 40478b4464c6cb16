"""Labels that people gave: what they mean, and which of them were not understood.

A label has the meaning safe or unsafe, or none that is known. Several labels in one cell are those of several
people: what most of them say counts, and without a majority the row has no label.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

from safety_worker.datasets.categories import flags_of, is_pairs, literal_of
from safety_worker.datasets.cells import is_nothing, name_of, plain_value
from safety_worker.text import fold

Meaning = Literal["safe", "unsafe"]

KNOWN: Mapping[str, Meaning] = {
    "safe": "safe",
    "benign": "safe",
    "harmless": "safe",
    "unharmful": "safe",
    "unsafe": "unsafe",
    "harmful": "unsafe",
    "malicious": "unsafe",
}
"""Labels that are understood without a word from the user: those of published data sets. ``true`` and ``1``
are not: they mean unsafe in a column ``toxic`` and safe in a column ``is_safe``."""

_SAME = (frozenset({"true", "yes", "1", "y", "t"}), frozenset({"false", "no", "0", "n", "f"}))
"""Formats spell a truth value in these ways: what one means, the others mean too, unless they differ."""


class Label(NamedTuple):
    """A label of a row."""

    name: str = ""
    """As the file has it; empty: there is none."""
    meaning: Meaning | None = None
    divided: bool = False
    """The cell holds several labels, and no majority."""


NO_LABEL = Label()


class Meanings:
    """What labels mean.

    Parameters
    ----------
    own
        The user's words, which hold before the known ones.
    """

    def __init__(self, own: Mapping[str, Meaning]) -> None:
        self._read_once = lru_cache(maxsize=1024)(lambda key: self._read(key[1]))
        self._table = {**KNOWN, **{fold(name_of(name)): meaning for name, meaning in own.items()}}

    def of(self, name: str) -> Meaning | None:
        """The meaning of a name; None: it has none."""
        key = fold(name)
        found = self._table.get(key)
        if found is None:
            same = next((words for words in _SAME if key in words), frozenset())
            meanings = {self._table[word] for word in same if word in self._table}
            found = meanings.pop() if len(meanings) == 1 else None
        return found

    def read(self, value: object) -> Label:
        """The label in a cell.

        Raises
        ------
        CellError
            If it is not known how to read it.
        """
        value = plain_value(value)
        if isinstance(value, str | int | float | bool | None) and not hasattr(value, "number"):
            return self._read_once((type(value), value))
        return self._read(value)

    def _read(self, value: object) -> Label:
        names = [name for name in _names_of(value) if self._meaning(name) or not is_nothing(name)]
        votes = Counter(self._vote(name) for name in names)
        if not votes:
            return NO_LABEL
        (winner, count), *others = votes.most_common(2)
        if others and others[0][1] == count:
            return Label(divided=True)
        name = next(name for name in names if self._vote(name) == winner)
        return Label(str(name), self._meaning(name))

    def _meaning(self, name: str) -> Meaning | None:
        return self.of(name) or self.of(str(getattr(name, "number", "")))

    def _vote(self, name: str) -> str:
        """What a name counts as: two names for one meaning are one."""
        return self._meaning(name) or f"={fold(name)}"


def _names_of(value: object) -> Iterator[str]:
    if isinstance(value, str):
        listed = literal_of(value) if value[:1] in {"[", "{"} else None
        if listed is None:
            yield value if hasattr(value, "number") else name_of(value)
            return
        value = listed
    if isinstance(value, Mapping):
        yield from flags_of(value)
    elif is_pairs(value):
        yield from flags_of(dict(value))  # type: ignore[call-overload]
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield item if hasattr(item, "number") else name_of(item)
    else:
        yield name_of(value)
