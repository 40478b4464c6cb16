"""The collect stage of a SafetyBlend: sources to normalised, de-duplicated, sampled rows.

Output: ``rows.jsonl`` of BlendRow sorted by digest, ``dropped.jsonl`` with the fate of every other row,
``sources.json`` with what each source is.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from safety_records.progress import Progress
from safety_records.result import Counts, StageResult
from safety_records.stages import CollectStage, Source
from safety_worker.artifacts.files import atomic_write_text, write_lines
from safety_worker.context import StageContext
from safety_worker.datasets.loading import LoadedData, check_invalid, load_dataset
from safety_worker.datasets.sampling import deduplicate, draw, row_order, sample
from safety_worker.errors import InputError
from safety_worker.rows import BlendRow, DroppedRow, PromptRow, group_of
from safety_worker.text import group_form

ROWS_NAME = "rows.jsonl"
DROPPED_NAME = "dropped.jsonl"
SOURCES_NAME = "sources.json"

NO_CATEGORY = "uncategorised"
"""Stratum of rows without a category."""


class Loaded(NamedTuple):
    """A source's rows, as part of a blend."""

    source: Source
    data: LoadedData
    rows: list[BlendRow]


class Collected(NamedTuple):
    """Rows that go on, and the fate of the others."""

    rows: list[BlendRow]
    dropped: list[DroppedRow]


def run(spec: CollectStage, context: StageContext) -> StageResult:
    """Collect the rows of all sources."""
    everything = (*spec.sources, *spec.retain)
    names = Counter(source.name for source in everything)
    if len(names) < len(everything):
        raise InputError(
            "DuplicateSource", f"sources and retain share the name {names.most_common(1)[0][0]!r}"
        )
    loaded: list[Loaded] = []
    for number, source in enumerate(everything):
        report(context, number, len(everything), f"reading {source.name}")
        loaded.append(load_source(source, "safety" if source in spec.sources else "retain", spec, context))
    exam: dict[str, str] = {}
    for dataset in spec.against:
        name = dataset.preset or dataset.uri
        for row in load_dataset(name, dataset, context).rows:
            exam.setdefault(group_form(row.prompt), name)
    collected = combine(loaded, exam, spec)
    if not any(row.part == "safety" for row in collected.rows):
        raise InputError(
            "NoRows", "no safety row is left after de-duplication: see the counts of the sources"
        )
    folder = context.store.output(spec.out)
    write_lines(folder / ROWS_NAME, (row.to_json() for row in collected.rows))
    write_lines(folder / DROPPED_NAME, (row.to_json() for row in collected.dropped))
    atomic_write_text(folder / SOURCES_NAME, json.dumps([_describe(item) for item in loaded], indent=1))
    report(context, len(everything), len(everything), "sources collected")
    return StageResult(
        stage="collect",
        inputs_hash=spec.inputs_hash,
        rows=len(collected.rows),
        counts=count(loaded, collected),
    )


def load_source(source: Source, part: str, spec: CollectStage, context: StageContext) -> Loaded:
    """Read one source and refuse it if too much of it is malformed."""
    data = load_dataset(source.name, source.dataset, context)
    check_invalid(data, spec.max_invalid)
    if not data.rows:
        raise InputError("EmptySource", f"source {source.name} has no rows: {data.origin}")
    have = {category for row in data.rows for category in row.categories}
    unknown = sorted(set(source.categories) - have)
    if unknown:
        raise InputError(
            "UnknownCategory",
            f"source {source.name} has no category {unknown[0]!r}, it has {', '.join(sorted(have)[:20])}",
        )
    return Loaded(source, data, [_blend_row(row, part) for row in data.rows])


def _blend_row(row: PromptRow, part: str) -> BlendRow:
    return BlendRow(part=part, group=group_of(group_form(row.request)), **dict(row))


def combine(loaded: Sequence[Loaded], exam: dict[str, str], spec: CollectStage) -> Collected:
    """De-duplicate over all sources, drop what is in the exam, draw the sample.

    A prompt that is both in a safety source and in retain data stays a safety row: training must not see
    an unsafe prompt answered as if it were harmless. A row counts as part of the exam even if case, white
    space or punctuation differ.
    """
    dropped = [row for item in loaded for row in (*item.data.invalid, *item.data.filtered)]
    unique = deduplicate(
        (row for item in loaded for row in item.rows), lambda row: int(_blend(row).part == "retain")
    )
    dropped += [
        _drop(row, "duplicate", f"of {kept.origin.source} record {kept.origin.index}")
        for row, kept in unique.dropped
    ]
    rows = [_blend(row) for row in unique.kept]
    contaminated = {
        row.digest: exam[form]
        for row in rows
        for form in {group_form(row.prompt), group_form(row.request)}
        if form in exam
    }
    dropped += [
        _drop(row, "contaminated", f"in {contaminated[row.digest]}")
        for row in rows
        if row.digest in contaminated
    ]
    wanted = {item.source.name: frozenset(item.source.categories) for item in loaded}
    clean = [row for row in rows if row.digest not in contaminated]
    filtered = [row for row in clean if _is_filtered(row, wanted[row.origin.source])]
    dropped += [_drop(row, "filtered", "of another category") for row in filtered]
    clean = [row for row in clean if not _is_filtered(row, wanted[row.origin.source])]
    safety = [row for row in clean if row.part == "safety"]
    if spec.size is not None:
        safety = sample(
            safety, spec.size, spec.seed, spec.strategy, _by_category if spec.by == "category" else _by_source
        )
    chosen = [*safety, *(row for source in spec.retain for row in draw_retain(clean, source))]
    digests = {row.digest for row in chosen}
    dropped += [_drop(row, "not-sampled", "") for row in clean if row.digest not in digests]
    return Collected(
        sorted(chosen, key=row_order),
        sorted(dropped, key=lambda row: (row.source, row.file, row.index, row.reason)),
    )


def draw_retain(rows: list[BlendRow], source: Source) -> list[BlendRow]:
    """The rows of a retain source; its ``limit`` of them if it has one.

    Raises
    ------
    InputError
        If it has fewer than its limit.
    """
    own = [row for row in rows if row.part == "retain" and row.origin.source == source.name]
    limit = source.dataset.limit
    if limit is None:
        return own
    if limit > len(own):
        raise InputError(
            "SampleTooLarge",
            f"retain {source.name}: size is {limit}, but only {len(own)} rows are left: lower it",
        )
    return draw(own, limit, source.dataset.seed)


def count(loaded: Iterable[Loaded], collected: Collected) -> tuple[Counts, ...]:
    """Rows of each source through this stage."""
    fates = Counter((row.source, row.reason) for row in collected.dropped)
    sampled = Counter(row.origin.source for row in collected.rows)
    return tuple(
        Counts(
            source=item.source.name,
            read=item.data.read,
            invalid=fates[item.source.name, "invalid"],
            duplicate=fates[item.source.name, "duplicate"],
            contaminated=fates[item.source.name, "contaminated"],
            sampled=sampled[item.source.name],
        )
        for item in loaded
    )


def read_collected(folder: Path) -> list[BlendRow]:
    """The rows that this stage has written."""
    with (folder / ROWS_NAME).open("rb") as stream:
        return [BlendRow.model_validate_json(line) for line in stream]


def report(context: StageContext, done: int, total: int, message: str) -> None:
    """Progress over sources."""
    context.report_progress(
        Progress(stage="collect", done=done, total=total, unit="sources", message=message)
    )


def _blend(row: PromptRow) -> BlendRow:
    assert isinstance(row, BlendRow)
    return row


def _is_filtered(row: BlendRow, wanted: frozenset[str]) -> bool:
    return bool(wanted) and not wanted.intersection(row.categories)


def _by_source(row: BlendRow) -> str:
    return row.origin.source


def _by_category(row: BlendRow) -> str:
    return row.categories[0] if row.categories else NO_CATEGORY


def _drop(row: PromptRow, reason: str, detail: str) -> DroppedRow:
    origin = row.origin
    return DroppedRow(
        source=origin.source,
        file=origin.file,
        index=origin.index,
        digest=row.digest,
        reason=reason,
        detail=detail,
    )


def _describe(item: Loaded) -> dict[str, object]:
    return {
        "name": item.source.name,
        "part": item.rows[0].part,
        "title": item.data.title,
        "licence": item.data.licence,
        "origin": item.data.origin,
        "digest": item.data.digest,
        "read": item.data.read,
        "invalid": len(item.data.invalid),
    }
