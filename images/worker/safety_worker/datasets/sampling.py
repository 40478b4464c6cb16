"""De-duplicate and draw rows. Everything depends on seeds and row digests only, never on order."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from safety_worker.rows import PromptRow, row_digest, seeded_order

Row = TypeVar("Row", bound=PromptRow)


class Deduplicated(NamedTuple):
    """Rows with one of each prompt, and the others with the row that stands for them."""

    kept: list[PromptRow]
    dropped: list[tuple[PromptRow, PromptRow]]
    """(dropped row, the row that is kept instead)."""


def row_order(row: PromptRow) -> tuple[str, str, str, tuple[str, ...], str, str, str, int]:
    """Total order of rows that does not depend on the order of sources, nor, if they differ, on theirs."""
    origin = row.origin
    content = (row.digest, row.prompt, row.response, row.categories, row.id)
    return (*content, origin.source, origin.file, origin.index)


def deduplicate(rows: Iterable[PromptRow]) -> Deduplicated:
    """Keep one row of each prompt in its normal form behind the same turns: the first by digest and origin.

    The order of ``rows`` decides nothing.
    """
    kept: dict[str, PromptRow] = {}
    dropped: list[tuple[PromptRow, str]] = []
    for row in sorted(rows, key=row_order):
        form = row_digest(row.prompt, "", row.context)
        if form in kept:
            dropped.append((row, form))
        else:
            kept[form] = row
    return Deduplicated(sorted(kept.values(), key=row_order), [(row, kept[form]) for row, form in dropped])


def draw(rows: Sequence[Row], size: int, seed: int) -> list[Row]:
    """Draw ``size`` rows at random; all if there are fewer. A larger size keeps the rows of a smaller one."""
    chosen = sorted(rows, key=lambda row: (seeded_order(seed, row.digest), row_order(row)))[: max(size, 0)]
    return sorted(chosen, key=row_order)


def equal_quotas(available: Mapping[str, int], size: int) -> dict[str, int]:
    """The same number from each stratum as far as its rows reach; what is left over goes by name."""
    quotas = dict.fromkeys(available, 0)
    left = min(size, sum(available.values()))
    while left:
        open_strata = sorted(name for name in available if quotas[name] < available[name])
        share = max(left // len(open_strata), 1)
        for name in open_strata:
            step = min(share, available[name] - quotas[name], left)
            quotas[name] += step
            left -= step
    return quotas


def proportional_quotas(available: Mapping[str, int], size: int) -> dict[str, int]:
    """Each stratum by its share of the rows, rounded by largest remainder so that the sum is exact."""
    total = sum(available.values())
    if not total:
        return dict.fromkeys(available, 0)
    quotas = {name: size * count // total for name, count in available.items()}
    by_remainder = sorted(available, key=lambda name: (-(size * available[name] % total), name))
    for name in by_remainder[: size - sum(quotas.values())]:
        quotas[name] += 1
    return quotas
