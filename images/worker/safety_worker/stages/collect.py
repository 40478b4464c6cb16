"""The collect stage of a SafetyBlend: sources to normalised, de-duplicated, sampled rows.

Output: ``rows.jsonl`` of BlendRow sorted by digest, ``dropped.parquet`` with the outcome of every other row,
``sources.json`` with what each source is, ``rules.json`` with how rows were compared and drawn. The text of
rows that are being compared is in a scratch file.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from safety_records.blend import BlendEvaluationSet, BlendRules
from safety_records.blend_stages import CollectStage
from safety_records.data import SampleStrategy, Source
from safety_records.progress import Progress
from safety_records.result import Counts, StageResult
from safety_worker.artifacts.files import atomic_path, atomic_write_text
from safety_worker.blending.collected import ROWS_NAME, RULES_NAME, SOURCES_NAME, read_inputs
from safety_worker.blending.dropped import Unread, count_outcomes, write_dropped
from safety_worker.blending.mixing import Mixed, mix
from safety_worker.blending.near_duplicates import DEFAULT_THRESHOLD
from safety_worker.blending.row_table import EvaluationSets, RowTable
from safety_worker.context import StageContext
from safety_worker.datasets.filters import filter_words
from safety_worker.datasets.loading import (
    SHOWN_PROBLEMS,
    DataSource,
    check_invalid,
    check_invalid_rows,
    load_dataset,
    open_dataset,
)
from safety_worker.datasets.parsing import ParsedRow
from safety_worker.datasets.presets import BLEND_ORDER
from safety_worker.datasets.unrecognised import Unrecognised
from safety_worker.errors import InputError
from safety_worker.rows import DroppedRow
from safety_worker.transport.uris import shown_uri

NO_STRATUM = "uncategorised"
"""Stratum of rows without a category, or without a value in the column that strata are made of."""

MAX_RECORDS = 10_000_000
"""Records of a source: as many as maxRecords allows, about 17 GB of memory."""

REPORT_ROWS = 20_000
"""Rows between two progress reports."""


@dataclass
class LoadedSource:
    """A source that has been read into the table."""

    source: Source
    part: str
    data: DataSource
    read: int = 0
    rows: int = 0
    unread: list[Unread] = field(default_factory=list)
    prompts: set[int] = field(default_factory=set)
    """Of a preset in BLEND_ORDER: its different prompts."""
    columns: set[str] = field(default_factory=set)
    unrecognised: Unrecognised = field(default_factory=Unrecognised)
    categories: set[str] = field(default_factory=set)

    @property
    def invalid(self) -> int:
        """Malformed records."""
        return sum(item.reason == "invalid" for item in self.unread)


def run(spec: CollectStage, context: StageContext) -> StageResult:
    """Collect the rows of all sources."""
    everything = (*spec.sources, *spec.retain)
    names = Counter(source.name for source in everything)
    if len(names) < len(everything):
        raise InputError(
            "DuplicateSource", f"sources and retain share the name {names.most_common(1)[0][0]!r}"
        )
    described: list[BlendEvaluationSet] = []
    warnings: list[str] = []
    evaluation_sets = EvaluationSets.of(read_evaluation_sets(spec, context, described, warnings))
    context.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="rows-", dir=context.scratch) as scratch:
        table = RowTable(Path(scratch) / "rows.arrow", evaluation_sets, spec.near or DEFAULT_THRESHOLD)
        loaded: list[LoadedSource] = []
        for number, source in enumerate(everything):
            report(context, number, len(everything), f"reading {source.name}")
            part = "safety" if number < len(spec.sources) else "retain"
            loaded.append(load_source(source, part, table, spec, context))
        table.close()
        _check_stratum(spec, loaded)
        report(context, len(everything), len(everything), f"comparing {len(table)} rows")
        mixed = mix(table, spec)
        rules = BlendRules(sample=sample_words(spec), near=spec.near, evaluation_sets=tuple(described))
        return _write(spec, context, loaded, rules, Mixture(table, mixed, tuple(warnings)))


class Mixture(NamedTuple):
    """All rows, and which of them go on."""

    table: RowTable
    mixed: Mixed
    warnings: tuple[str, ...]
    """What to know of how evaluation sets were read."""


def _write(
    spec: CollectStage, context: StageContext, loaded: list[LoadedSource], rules: BlendRules, mixture: Mixture
) -> StageResult:
    table, mixed, warnings = mixture
    retain = frozenset(source.name for source in spec.retain)
    unread = [item for source in loaded for item in source.unread]
    counts = count_sources(loaded, table, mixed, count_outcomes(unread, table, mixed.dropped))
    if not any(item.sampled for item in counts if item.source not in retain):
        raise InputError("NoRows", f"no safety row is left: {_where_they_went(counts, retain)}")
    folder = context.store.output(spec.out)
    parts = ["retain" if name in retain else "safety" for name in table.sources.values]
    rows = table.rows(
        mixed.chosen.tolist(),
        part_of=lambda row: parts[table.numbers["source"][row]],
        group_of=lambda row: f"{mixed.groups[row]:016x}",
    )
    with atomic_path(folder / ROWS_NAME) as path, path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{row.to_json()}\n" for row in rows)
    write_dropped(folder, unread, table, mixed.dropped, retain)
    atomic_write_text(folder / SOURCES_NAME, json.dumps([_describe(item) for item in loaded], indent=1))
    atomic_write_text(folder / RULES_NAME, json.dumps(rules.model_dump(mode="json", by_alias=True), indent=1))
    report(context, len(loaded), len(loaded), "sources collected")
    return StageResult(
        stage="collect",
        inputs_hash=spec.inputs_hash,
        rows=len(mixed.chosen),
        counts=counts,
        inputs=read_inputs(folder),
        warnings=(
            *(text for item in loaded for text in _changes(item)),
            *(f"source {item.source.name}: {text}" for item in loaded for text in item.unrecognised.words()),
            *warnings,
            *_additions(loaded),
            *mixed.warnings,
        ),
    )


def sample_words(spec: CollectStage) -> str:
    """How safety rows are drawn."""
    if spec.size is None:
        return "all rows"
    by = "" if spec.strategy is SampleStrategy.UNIFORM else f" by {spec.column or spec.by}"
    return f"{spec.size} rows, {spec.strategy}{by}, seed {spec.seed}"


def read_evaluation_sets(
    spec: CollectStage, context: StageContext, described: list[BlendEvaluationSet], warnings: list[str]
) -> Iterator[tuple[str, str]]:
    """Prompts of evaluation sets, each with the name of its set.

    Parameters
    ----------
    spec, context
        Of the stage.
    described, warnings
        Get the sets, and what to know of how they were read.

    Raises
    ------
    InputError
        If a set has no prompt, or too many that are malformed: then it would keep nothing apart.
    """
    for dataset in spec.against:
        name = dataset.preset or shown_uri(dataset.uri)
        data = load_dataset(name, dataset, context)
        check_invalid(data, spec.max_invalid)
        if not data.rows:
            raise InputError(
                "EmptyEvaluationSet",
                f"dedupe.against: {name} has no prompt, so that nothing would be kept apart from it: name "
                "another file, or leave it out",
            )
        warnings += [f"dedupe.against: {name}: {text}" for text in data.warnings]
        described.append(
            BlendEvaluationSet(name=name[:400], prompts=len(data.rows), digest=data.source.digest)
        )
        for row in data.rows:
            yield name, row.prompt
            if row.unsafe_prompt:
                yield name, row.unsafe_prompt


def load_source(
    source: Source, part: str, table: RowTable, spec: CollectStage, context: StageContext
) -> LoadedSource:
    """Read one source into the table and refuse it if too much of it is malformed."""
    loaded = LoadedSource(source, part, open_dataset(source.name, source.dataset, context, source.subsets))
    preset = loaded.data.preset
    counted = preset is not None and preset.name in BLEND_ORDER
    examples: list[DroppedRow] = []
    for row in loaded.data.rows(loaded.columns, spec.column if spec.by == "column" else ""):
        loaded.read += 1
        if loaded.read > MAX_RECORDS:
            raise InputError(
                "SourceTooLarge",
                f"source {source.name} has more than {MAX_RECORDS:,} records, each of which takes 1.7 KB of "
                "memory: set maxRecords to read its beginning only, or give a smaller copy",
            )
        if loaded.read % REPORT_ROWS == 0:
            total = len(spec.sources) + len(spec.retain)
            report(context, 0, total, f"reading {source.name}, row {loaded.read}")
        if isinstance(row, DroppedRow):
            loaded.unread.append(Unread(row.source, row.file, row.index, row.line, row.reason, row.detail))
            if row.reason == "invalid" and len(examples) < SHOWN_PROBLEMS:
                examples.append(row)
            continue
        loaded.rows += 1
        loaded.categories.update(row.categories)
        loaded.unrecognised.add(row.unrecognised)
        if counted:
            loaded.prompts.add(hash(row.prompt))
        table.add(source.name, row, stratum_of(row, spec))
    check_invalid_rows(source.name, examples, loaded.invalid, loaded.read, spec.max_invalid)
    if not loaded.rows:
        left_out = len(loaded.unread)
        why = f"all {left_out} are malformed or left out by filters" if left_out else loaded.data.origin
        raise InputError("EmptySource", f"source {source.name} has no rows: {why}{_bound(loaded)}")
    unknown = sorted(set(source.categories) - loaded.categories)
    if unknown:
        have = ", ".join(sorted(loaded.categories)[:20])
        raise InputError(
            "UnknownCategory",
            f"source {source.name} has no category {unknown[0]!r}, it has {have}{_bound(loaded)}",
        )
    return loaded


def stratum_of(row: ParsedRow, spec: CollectStage) -> str:
    """The stratum of a row, where strata are not the sources themselves."""
    if spec.by == "category":
        return row.categories[0] if row.categories else NO_STRATUM
    if spec.by == "column":
        return row.stratum or NO_STRATUM
    return ""


def count_sources(
    loaded: Iterable[LoadedSource], table: RowTable, mixed: Mixed, outcomes: Counter[tuple[str, str]]
) -> tuple[Counts, ...]:
    """Rows of each source through this stage."""
    sampled = Counter(table.numbers["source"][mixed.chosen].tolist())
    return tuple(
        Counts(
            source=item.source.name,
            read=item.read,
            invalid=item.invalid,
            filtered=outcomes[item.source.name, "filtered"],
            duplicate=outcomes[item.source.name, "duplicate"],
            near_duplicate=outcomes[item.source.name, "near-duplicate"],
            contaminated=outcomes[item.source.name, "contaminated"],
            sampled=sampled[table.sources.number(item.source.name)],
        )
        for item in loaded
    )


def report(context: StageContext, done: int, total: int, message: str) -> None:
    """Progress over sources."""
    context.report_progress(
        Progress(stage="collect", done=done, total=total, unit="sources", message=message)
    )


def _check_stratum(spec: CollectStage, loaded: Iterable[LoadedSource]) -> None:
    if spec.by != "column" or any(spec.column in item.columns for item in loaded if item.part == "safety"):
        return
    have = sorted(set().union(*(item.columns for item in loaded if item.part == "safety")))
    raise InputError(
        "MissingColumn",
        f"no source has the column {spec.column!r} of sample.column, they have {', '.join(have[:20])}",
    )


def _where_they_went(counts: Iterable[Counts], retain: frozenset[str]) -> str:
    """The outcomes of safety rows, the most frequent first."""
    names = ("invalid", "filtered", "duplicate", "near_duplicate", "contaminated")
    total: Counter[str] = Counter()
    for item in counts:
        if item.source not in retain:
            total.update({name.replace("_", " "): getattr(item, name) for name in names})
    return ", ".join(f"{number} {name}" for name, number in total.most_common() if number) + (
        "; look at filters, categories and dedupe.against"
    )


def _changes(item: LoadedSource) -> list[str]:
    """What to know of how it was read, and what is otherwise than it was published."""
    rows = item.read - sum(row.reason == "filtered" for row in item.unread)
    return item.data.warnings(item.read, rows, len(item.prompts), narrowed=_is_narrowed(item))


def _bound(item: LoadedSource) -> str:
    """For messages: that rows that are missing may come behind those that were read."""
    return (
        f"; maxRecords: only the first {item.source.dataset.max_records} were read" if item.data.cut else ""
    )


def _is_narrowed(item: LoadedSource) -> bool:
    return bool(item.source.dataset.filters or item.source.subsets or item.data.cut)


def _additions(loaded: Iterable[LoadedSource]) -> Iterator[str]:
    """Presets of a blend that begin BLEND_ORDER, and add other prompts to each other than when published."""
    whole = {item.data.preset.name: item for item in loaded if item.data.preset and not _is_narrowed(item)}
    before: set[int] = set()
    for name in BLEND_ORDER:
        item = whole.get(name)
        if item is None or item.data.preset is None:
            return
        added, known = len(item.prompts - before), item.data.preset.published.added
        if known is not None and added != known:
            earlier = ", ".join(BLEND_ORDER[: BLEND_ORDER.index(name)])
            yield (
                f"source {item.source.name}: {added} prompts that {earlier} lack, but {known} when they were "
                "published: one of them has changed"
            )
        before |= item.prompts


def _rules(source: Source) -> list[str]:
    """Filters, categories and number of rows, in words."""
    words = [filter_words(item) for item in source.dataset.filters]
    if source.categories:
        words.append(f"category is one of {', '.join(source.categories)}")
    if source.ratio is not None:
        words.append(f"{source.ratio:g} rows to a safety row")
    if source.dataset.limit is not None:
        words.append(f"{source.dataset.limit} rows, seed {source.dataset.seed}")
    words.extend(f"{size} rows of {name}" for name, size in sorted(source.subsets.items()))
    return words


def _describe(item: LoadedSource) -> dict[str, object]:
    return {
        "name": item.source.name,
        "part": item.part,
        **item.data.describe(),
        "rules": _rules(item.source),
        "max_records": item.source.dataset.max_records if item.data.cut else None,
        "read": item.read,
        "invalid": item.invalid,
    }
