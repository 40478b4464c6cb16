"""Which rows of all sources become part of a blend. Everything depends on seeds and digests, not on order.

Positions and orders are numbers of rows in a :class:`RowTable`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from safety_records.blend_stages import CollectStage
from safety_records.data import SampleStrategy, Source
from safety_worker.blending.dropped import DroppedRows
from safety_worker.blending.near_duplicates import Near, Texts, compare
from safety_worker.blending.row_table import Indices, RowTable
from safety_worker.datasets.sampling import equal_quotas, proportional_quotas
from safety_worker.errors import InputError
from safety_worker.rows import seeded_order

ONLY_REFUSALS = (
    "nothing is retained and no prompt is harmless: a model that learns refusals alone refuses more of "
    "everything; add retain"
)

Bools = np.ndarray[Any, np.dtype[np.bool_]]


class Mixed(NamedTuple):
    """Rows that go on, and why the others do not."""

    chosen: Indices
    """In order of their digests."""
    dropped: DroppedRows
    """By reason: rows that were left out, with the detail."""
    groups: dict[int, int]
    """Of chosen rows: the key of the group's first request."""
    warnings: tuple[str, ...]
    """What came out otherwise than one might think."""


def mix(table: RowTable, spec: CollectStage) -> Mixed:
    """De-duplicate over all sources, drop what is in an evaluation set, draw the sample.

    A prompt that is both in a safety source and in retain data stays a safety row: training must not see
    an unsafe prompt answered as if it were harmless.

    Raises
    ------
    InputError
        If more rows are wanted than there are.
    """
    retain = _are_retain(table, spec)
    dropped: DroppedRows = {}
    wanted = _drop_categories(table, spec, dropped)  # first: what is not wanted stands for no other row
    warnings: list[str] = []
    own_label = table.numbers["benign"].copy()
    _settle_labels(table, np.flatnonzero(wanted & ~retain), warnings)
    ordered = _stable_order(table, retain, own_label)
    left = _drop_exact(table, ordered[wanted[ordered]], dropped)
    left = _drop_known(table, left, dropped)
    near = _compare(table, left)
    left, groups = _drop_near(table, left, near, spec, dropped)
    safety = _sample_safety(table, left[~retain[left]], spec, warnings)
    if not spec.retain and not table.numbers["benign"][safety].any():
        warnings.append(ONLY_REFUSALS)
    chosen = [safety]
    for source in spec.retain:
        own = left[retain[left] & (table.numbers["source"][left] == table.sources.number(source.name))]
        chosen.append(draw_retain(table, own, source, len(safety)))
    taken = np.concatenate(chosen)
    dropped["not-sampled"] = dict.fromkeys(left[~np.isin(left, taken)].tolist(), "")
    taken = taken[np.argsort(table.numbers["digest"][taken])]
    return Mixed(taken, dropped, groups, tuple(warnings))


def _are_retain(table: RowTable, spec: CollectStage) -> Bools:
    codes = [table.sources.number(source.name) for source in spec.retain]
    return np.isin(table.numbers["source"], codes)


def _stable_order(table: RowTable, retain: Bools, own_label: Bools) -> Indices:
    """All rows: safety before retain, then unsafe before benign prompts, then by digest, content, origin.

    Blind to the order of sources and of rows in them. Of equal or near prompts the first stays: one that some
    source calls unsafe is never asked as if it were harmless, and a response that somebody calls unsafe is no
    fallback. Of prompts that count alike, one whose ``own_label`` is not benign comes first.
    """
    numbers = table.numbers
    keys = (
        numbers["index"],
        _ranks(table.files.values)[numbers["file"]],
        _ranks(table.sources.values)[numbers["source"]],
        numbers["content"],
        numbers["usable"],
        *_digest_words(table)[::-1],
        own_label,
        numbers["benign"],
        retain,
    )
    return np.lexsort(keys).astype(np.int64)


def _ranks(values: Sequence[str]) -> Indices:
    """Place of each value among all when they are sorted."""
    ranks = np.zeros(len(values), np.int64)
    ranks[sorted(range(len(values)), key=values.__getitem__)] = np.arange(len(values))
    return ranks


def _digest_words(table: RowTable) -> list[Any]:
    """The digests as four big-endian numbers."""
    words = np.ascontiguousarray(table.numbers["digest"]).view(">u8").reshape(-1, 4)
    return [words[:, place] for place in range(4)]


def _settle_labels(table: RowTable, rows: Indices, warnings: list[str]) -> None:
    """Let all safety rows that ask the same, in whatever spelling, say the same of it.

    One that is called unsafe is unsafe, whatever others say; one without a label of its own is what others
    say, and unsafe where none says anything.
    """
    numbers = table.numbers
    forms, benign, unlabelled = (numbers[name][rows] for name in ("request_form", "benign", "unlabelled"))
    called_safe = np.isin(forms, forms[benign])
    called_unsafe = np.isin(forms, forms[~benign & ~unlabelled])
    numbers["benign"][rows] = called_safe & ~called_unsafe
    both = len(np.unique(forms[called_safe & called_unsafe]))
    if both:
        warnings.append(
            f"{both} of the prompts are called safe in one row and not in another: they count as unsafe"
        )


def _drop_exact(table: RowTable, ordered: Indices, dropped: DroppedRows) -> Indices:
    """Keep the first row of each prompt behind the same turns."""
    keys = table.numbers["exact"][ordered]
    by_key = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: the first of each run comes first in order, too
    sorted_keys = keys[by_key]
    begins = np.ones(len(ordered), bool)
    begins[1:] = (sorted_keys[1:] != sorted_keys[:-1]).any(axis=1)
    first = np.maximum.accumulate(np.where(begins, np.arange(len(ordered)), 0))
    again = np.flatnonzero(~begins)
    rows, kept = ordered[by_key[again]], ordered[by_key[first[again]]]
    dropped["duplicate"] = {
        row: f"of {_place(table, stays)}" for row, stays in zip(rows.tolist(), kept.tolist(), strict=True)
    }
    keep = np.ones(len(ordered), bool)
    keep[by_key[again]] = False
    return ordered[keep]


def _place(table: RowTable, row: int) -> str:
    origin = table.origin(row)
    return f"{origin.source} {origin.file} record {origin.index}".replace("  ", " ")


def _drop_known(table: RowTable, left: Indices, dropped: DroppedRows) -> Indices:
    """Leave out rows whose prompt, request or earlier turn is in an evaluation set, however it is written."""
    forms = table.evaluation.forms
    known = np.fromiter(forms, np.uint64, len(forms))
    numbers = table.numbers
    keys = [numbers[name][left] for name in ("prompt_form", "request_form", "turn_form")]
    found = np.isin(keys, known)
    caught = found.any(axis=0)
    which = found.argmax(axis=0)[caught]
    dropped["contaminated"] = {
        row: f"in {forms[int(keys[column][place])]}"
        for row, column, place in zip(
            left[caught].tolist(), which.tolist(), np.flatnonzero(caught).tolist(), strict=True
        )
    }
    return left[~caught]


def _compare(table: RowTable, left: Indices) -> Near:
    """What is near what: positions are those of the evaluation sets' texts, and then those of ``left``."""
    evaluation = table.evaluation.texts
    ahead = len(evaluation)

    def request(text: int) -> str:
        return evaluation[text] if text < ahead else table.request_form(text - ahead)

    def whole(text: int) -> str:
        return evaluation[text] if text < ahead else table.whole_form(text - ahead)

    def wrapped(text: int) -> bool:
        return text >= ahead and table.is_wrapped(text - ahead)

    order = np.concatenate([np.arange(ahead, dtype=np.int64), left + ahead])
    return compare(table.signatures, order, ahead, Texts(request, whole, wrapped))


def _drop_near(
    table: RowTable, left: Indices, near: Near, spec: CollectStage, dropped: DroppedRows
) -> tuple[Indices, dict[int, int]]:
    """Leave out what is near an evaluation set, and near duplicates where the blend wants that.

    Gives the rows that stay, and of all rows the key of their group.
    """
    ahead = len(table.evaluation.texts)
    rows = [0] * ahead + left.tolist()
    duplicates = near.duplicates if spec.near is not None else {}
    for position, found in near.contaminated.items():
        detail = f"{found.similarity:.2f} like one in {table.evaluation.sets[found.of]}"
        dropped["contaminated"][rows[position]] = detail
    dropped["near-duplicate"] = {
        rows[position]: f"{found.similarity:.2f} like {_place(table, rows[found.of])}"
        for position, found in duplicates.items()
    }
    gone = np.array([*near.contaminated, *duplicates], np.int64) - ahead
    first = left[near.group[ahead:] - ahead]
    groups = dict(zip(left.tolist(), table.numbers["request_form"][first].tolist(), strict=True))
    return np.delete(left, gone), groups


def _drop_categories(table: RowTable, spec: CollectStage, dropped: DroppedRows) -> Bools:
    """Leave out rows without one of the categories that their source is to give; True for those that stay."""
    wanted = {source.name: frozenset(source.categories) for source in (*spec.sources, *spec.retain)}
    numbers = table.numbers
    keep = np.ones(len(table), bool)
    for code, name in enumerate(table.sources.values):
        if wanted[name]:
            fits = np.array([bool(wanted[name] & set(value)) for value in table.categories.values], bool)
            keep &= (numbers["source"] != code) | fits[numbers["categories"]]
    dropped["filtered"] = dict.fromkeys(np.flatnonzero(~keep).tolist(), "of another category")
    return keep


def _sample_safety(table: RowTable, left: Indices, spec: CollectStage, warnings: list[str]) -> Indices:
    """Draw the safety rows."""
    if spec.size is None:
        return left
    if spec.size > len(left):
        raise InputError(
            "SampleTooLarge",
            f"sample.size is {spec.size}, but only {len(left)} rows are left: lower it, or add sources",
        )
    if spec.strategy is SampleStrategy.UNIFORM:
        return draw_rows(table, left, spec.size, spec.seed)
    codes = table.numbers["source" if spec.by == "source" else "stratum"][left]
    names = table.sources.values if spec.by == "source" else table.strata.values
    members = {names[code]: left[codes == code] for code in np.unique(codes).tolist()}
    available = {name: len(rows) for name, rows in members.items()}
    even = spec.strategy is SampleStrategy.STRATIFIED
    quotas = (equal_quotas if even else proportional_quotas)(available, spec.size)
    if even:
        warnings.extend(_short(available, spec.size))
    return np.concatenate([draw_rows(table, rows, quotas[name], spec.seed) for name, rows in members.items()])


def _short(available: Mapping[str, int], size: int) -> Iterable[str]:
    """Strata that have less than an equal share of the sample."""
    share = size // len(available)
    short = sorted((count, name) for name, count in available.items() if count < share)
    if short:
        shown = ", ".join(f"{name} has {count}" for count, name in short[:5])
        more = f" and {len(short) - 5} more" if len(short) > 5 else ""  # noqa: PLR2004
        yield f"the sample is not even: an equal share is {share} rows, but {shown}{more}; others fill up"


def draw_rows(table: RowTable, rows: Indices, size: int, seed: int) -> Indices:
    """Draw ``size`` rows at random; all if there are fewer. A larger size keeps the rows of a smaller one."""
    if size >= len(rows):
        return rows
    digests = np.ascontiguousarray(table.numbers["digest"][rows]).tobytes().hex()
    places = range(0, len(digests), 64)
    raw = b"".join(seeded_order(seed, digests[place : place + 64])[:8] for place in places)
    keys = np.frombuffer(raw, ">u8").astype(np.uint64)
    return rows[np.sort(np.argsort(keys, kind="stable")[: max(size, 0)])]


def draw_retain(table: RowTable, own: Indices, source: Source, safety: int) -> Indices:
    """The rows of a retain source: all, its size, so many for each safety row, or so many of each subset.

    Raises
    ------
    InputError
        If it has fewer than that.
    """
    dataset = source.dataset
    if source.subsets:
        return _draw_subsets(table, own, source)
    if source.ratio is not None:
        wanted = round(source.ratio * safety)
        if not wanted:
            raise InputError(
                "RatioNotMet",
                f"retain {source.name}: a ratio of {source.ratio:g} to {safety} safety rows is not one row: "
                "raise ratio, or leave the source out",
            )
        if wanted > len(own):
            raise InputError(
                "RatioNotMet",
                f"retain {source.name}: a ratio of {source.ratio:g} to {safety} safety rows needs {wanted} "
                f"rows, but only {len(own)} are left: lower ratio, or sample.size",
            )
        return draw_rows(table, own, wanted, dataset.seed)
    if dataset.limit is None:
        return own
    if dataset.limit > len(own):
        raise InputError(
            "SampleTooLarge",
            f"retain {source.name}: size is {dataset.limit}, but only {len(own)} rows are left: lower it",
        )
    return draw_rows(table, own, dataset.limit, dataset.seed)


def _draw_subsets(table: RowTable, own: Indices, source: Source) -> Indices:
    first = np.array([value[0] if value else "" for value in table.categories.values], object)
    names = first[table.numbers["categories"][own]]
    drawn = []
    for name, size in sorted(source.subsets.items()):
        members = own[names == name]
        if size > len(members):
            have = ", ".join(sorted({str(found) for found in names.tolist() if found})[:20]) or "none"
            raise InputError(
                "SampleTooLarge",
                f"retain {source.name}: subset {name} is to give {size} rows, but only {len(members)} are "
                f"left: lower it; its subsets are {have}",
            )
        drawn.append(draw_rows(table, members, size, source.dataset.seed))
    return np.concatenate(drawn)
