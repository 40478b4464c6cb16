"""The assemble stage of a SafetyBlend: keep what the judges pass, split, write the training files.

Output: ``train.*`` and ``validation.*`` with messages, ``rows.parquet`` with origin and outcome of every row
that any source had, ``no-safe-answer.jsonl`` with the rows that no answer was kept for, ``blend.json`` with
all numbers, and made from it ``README.md`` (dataset card) and ``blend.html``; ``lineage.json``. Nothing of it
holds a time: same inputs and seeds give the same digest.
"""

import json
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TextIO

from safety_records.blend import BlendReport
from safety_records.blend_stages import AssembleStage
from safety_records.progress import Progress
from safety_records.result import StageResult
from safety_worker import __version__
from safety_worker.artifacts.files import atomic_path, atomic_write_text
from safety_worker.blending import card
from safety_worker.blending import page as blend_page
from safety_worker.blending.choosing import RowWithoutAnswer, judge_candidates, pick_candidate, rule_of
from safety_worker.blending.collected import read_inputs, read_record
from safety_worker.blending.document import build_blend_report
from safety_worker.blending.joining import JoinedRow, join_rows
from safety_worker.blending.lengths import measure_length, renderer
from safety_worker.blending.outcomes import RowOutcome
from safety_worker.blending.output import UNKEPT_NAME, OutcomeTable, TrainingRows, rejected_line
from safety_worker.blending.screened import ScreenedRows
from safety_worker.blending.splitting import split
from safety_worker.blending.statistics import BlendStatistics, count_kept
from safety_worker.context import StageContext
from safety_worker.errors import InputError
from safety_worker.judging.records import read_judges

HTML_NAME = "blend.html"

REPORT_ROWS = 256
"""Rows between two words about progress."""


class Outputs(NamedTuple):
    """Where rows go while they pass."""

    statistics: BlendStatistics
    training: TrainingRows
    table: OutcomeTable
    unkept: TextIO


def run(spec: AssembleStage, context: StageContext) -> StageResult:
    """Assemble the blend.

    Raises
    ------
    InputError
        If no row is left, or a verdict could not be read and ``keep.onUnparsed`` is ``fail``.
    """
    collected = context.store.input(spec.collected)
    answered, judged = context.store.input(spec.answered), context.store.input(spec.judged)
    judges = read_judges(judged)
    screened = ScreenedRows(spec, context)
    folder = context.store.output(spec.out)
    context.scratch.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(dir=context.scratch) as scratch,
        closing(TrainingRows(Path(scratch) / "training", spec.split_seed)) as training,
        closing(OutcomeTable(Path(scratch) / "outcomes")) as table,
    ):
        statistics = BlendStatistics(spec.split_seed)
        with (
            atomic_path(folder / UNKEPT_NAME) as temporary,
            temporary.open("w", encoding="utf-8") as unkept,
        ):
            outputs = Outputs(statistics, training, table, unkept)
            rows = join_rows(collected, answered, judged)
            decide(spec, rows, len(judges), screened, outputs, context=context)
        if not statistics.members:
            raise InputError(
                "NoRows",
                f"no row is left: {statistics.reasons()}; add rows or candidates, or look at the judges",
            )
        parts = split(statistics.members, spec.validation, spec.split_seed)
        for name, digests in (("train", parts.train), ("validation", parts.validation)):
            training.write(folder / f"{name}.{spec.format}", digests, spec.format)
        table.write(folder, collected, parts)
    document = build_blend_report(
        spec,
        collected,
        statistics,
        parts,
        judges=judges,
        # Not those of the answer stage: they are of a server, and the same inputs give the same digest.
        warnings=context.store.warnings_of((spec.collected, spec.judged, spec.screened)),
        screening=screened.summary,
        lineage=_lineage(spec, context),
    )
    write_document(folder, document, screened.details)
    return StageResult(
        stage="assemble",
        inputs_hash=spec.inputs_hash,
        rows=len(statistics.members),
        train_rows=len(parts.train),
        validation_rows=len(parts.validation),
        tokens=document.lengths.total if document.lengths else None,
        counts=count_kept(read_record(collected).counts, statistics),
        screening=screened.summary,
        html=f"{spec.out}/{HTML_NAME}",
        versions={"safety-worker": __version__},
    )


def decide(
    spec: AssembleStage,
    rows: Iterable[JoinedRow],
    judges: int,
    screened: ScreenedRows,
    outputs: Outputs,
    *,
    context: StageContext,
) -> None:
    """The outcome of every collected row.

    Raises
    ------
    InputError
        If a verdict could not be read and ``keep.onUnparsed`` is ``fail``.
    """
    rule = rule_of(spec, judges)
    render = renderer(context.store.path(spec.tokenizer)) if spec.tokenizer else None
    total = read_record(context.store.path(spec.collected)).rows or 0
    unparsed = 0
    for number, (row, answers, verdicts) in enumerate(rows):
        found = judge_candidates(answers, verdicts, rule)
        unparsed += sum(any(one.unparsed for one in group) for group in verdicts.values())
        choice = pick_candidate(found, rule)
        outcome = RowOutcome(row, choice.answer, choice.candidate, choice.reason, source=choice.source)
        outcome = screened.apply(measure_length(outcome, render, spec) if render else outcome)
        outputs.statistics.add(outcome)
        outputs.table.add(outcome)
        if not outcome.reason:
            outputs.training.add(row, outcome.answer)
        if choice.reason or (choice.source and row.part == "safety"):
            item = RowWithoutAnswer(row, found)
            outputs.statistics.add_rejected(item)
            outputs.unkept.write(f"{rejected_line(item)}\n")
        if number % REPORT_ROWS == 0:
            context.report_progress(
                Progress(stage="assemble", done=number, total=total, message="choosing answers")
            )
    if unparsed and spec.on_unparsed == "fail":
        raise InputError(
            "UnparsedVerdicts", f"{unparsed} answers could not be judged and keep.onUnparsed is fail"
        )


def write_document(folder: Path, document: BlendReport, scores: Any) -> None:
    """Write ``blend.json`` and what is made from it; ``scores`` is the content of ``screening.json``."""
    atomic_write_text(folder / "lineage.json", json.dumps(document.lineage, indent=1, sort_keys=True))
    text = json.dumps(document.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False)
    atomic_write_text(folder / "blend.json", text + "\n")
    atomic_write_text(folder / "README.md", card.render(document))
    atomic_write_text(folder / HTML_NAME, blend_page.render(document, scores))


def _lineage(spec: AssembleStage, context: StageContext) -> dict[str, str]:
    """Digests that the operator knows, and of the stages that are read here, under their names."""
    lineage = dict(spec.lineage) | read_inputs(context.store.path(spec.collected))
    for name, path in (
        ("collect", spec.collected),
        ("answer", spec.answered),
        ("judge", spec.judged),
        ("screen", spec.screened),
    ):
        if not path:
            continue
        manifest = context.store.manifest(path)
        lineage[name] = manifest.digest if manifest else ""
    lineage["safety-worker"] = __version__
    return lineage
