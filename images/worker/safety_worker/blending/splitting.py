"""Training and validation: split by prompt group, so that nearly equal prompts never stand on both sides."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from safety_worker.rows import seeded_order


class Split(NamedTuple):
    """Digests of both parts."""

    train: frozenset[str]
    validation: frozenset[str]


class Member(NamedTuple):
    """A row, by its digest, in its group."""

    digest: str
    group: str


def split(rows: Iterable[Member], share: float, seed: int) -> Split:
    """Split rows by group; depends on groups, digests and the seed only.

    Whole groups are taken in a random order, passing over those that would exceed the share, so validation
    never has more than ``share`` of the rows, rounded, but at least one. Where every group is larger than
    that, the smallest one is taken. A single group is never split: then there is no validation part.

    Parameters
    ----------
    rows
        Digests are distinct; in any order.
    share
        Of rows for validation, 0 up to but not 1.
    seed
        Of the order.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row.digest)
    total = sum(map(len, groups.values()))
    validation: set[str] = set()
    if share > 0 and len(groups) > 1:
        wanted = max(round(share * total), 1)
        order = sorted(groups, key=lambda group: (seeded_order(seed, group), group))
        for group in order:
            if len(validation) + len(groups[group]) <= min(wanted, total - 1):
                validation.update(groups[group])
        if not validation:
            validation.update(groups[min(order, key=lambda group: len(groups[group]))])
    everything = {digest for members in groups.values() for digest in members}
    return Split(frozenset(everything - validation), frozenset(validation))
