"""The assemble stage of a SafetyBlend: keep what the judges pass, split, write the training files.

Output: ``train.*`` and ``validation.*`` with messages, ``rows.parquet`` with origin and fate of every row
that any source had, ``no-safe-answer.jsonl`` with the rows that no answer was kept for, ``blend.json`` with
all numbers, and made from it ``README.md`` (dataset card) and ``blend.html``; ``lineage.json``. Nothing of it
holds a time: same inputs and seeds give the same digest.
"""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from safety_records.blend import BlendReport
from safety_records.manifest import RESULT_NAME
from safety_records.progress import Progress
from safety_records.result import Counts, Screening, StageResult
from safety_records.stages import AssembleStage, JudgeSpec
from safety_worker import __version__
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.context import StageContext
from safety_worker.datasets import card
from safety_worker.datasets.choosing import Unkept, look_at, pick, rule_of
from safety_worker.datasets.collect import read_collected
from safety_worker.datasets.document import build_document
from safety_worker.datasets.fates import LENGTH_REASON, TEMPLATE_REASON, Fate
from safety_worker.datasets.lengths import Render, renderer
from safety_worker.datasets.output import messages, write_part, write_table, write_unkept
from safety_worker.datasets.splitting import Member, split
from safety_worker.errors import InputError
from safety_worker.generation.reasoning import bare, reasoning_of
from safety_worker.generation.shards import read_rows
from safety_worker.judging.stage import read_judges
from safety_worker.reporting import blend_page
from safety_worker.rows import BlendRow, GeneratedRow, VerdictRow
from safety_worker.screening.selecting import read_scores, select
from safety_worker.screening.table import SUMMARY_NAME, key_of
from safety_worker.text import group_form

HTML_NAME = "blend.html"


class Decided(NamedTuple):
    """What became of every collected row."""

    fates: list[Fate]
    unkept: list[Unkept]
    """Rows that no answer was kept for, with what was found about each candidate."""


class Screened(NamedTuple):
    """Fates after screening."""

    fates: list[Fate]
    summary: Screening | None
    """None if nothing was screened."""


def run(spec: AssembleStage, context: StageContext) -> StageResult:
    """Assemble the blend.

    Raises
    ------
    InputError
        If no row is left, or a verdict could not be read and ``keep.onUnparsed`` is ``fail``.
    """
    collected = context.store.input(spec.collected)
    judges = read_judges(context.store.input(spec.judged))
    decided = decide(spec, collected, judges, context)
    fates, screening = apply_screening(spec, decided.fates, context)
    kept = [fate for fate in fates if not fate.reason]
    if not kept:
        why = ", ".join(f"{n} {reason}" for reason, n in Counter(fate.reason for fate in fates).most_common())
        raise InputError("NoRows", f"no row is left: {why}; add rows or candidates, or look at the judges")
    parts = split((member(fate.row) for fate in kept), spec.validation, spec.split_seed)
    lineage = _lineage(spec, context)
    document = build_document(
        spec,
        collected,
        fates,
        parts,
        judges=judges,
        unkept=decided.unkept,
        screening=screening,
        lineage=lineage,
    )
    folder = context.store.output(spec.out)
    for name, digests in (("train", parts.train), ("validation", parts.validation)):
        mine = [fate for fate in kept if fate.row.digest in digests]
        write_part(folder, name, mine, spec.split_seed, spec.format)
    write_table(folder, collected, fates, parts)
    write_unkept(folder, decided.unkept)
    write_document(folder, document, read_screening(spec, context))
    return StageResult(
        stage="assemble",
        inputs_hash=spec.inputs_hash,
        rows=len(kept),
        train_rows=len(parts.train),
        validation_rows=len(parts.validation),
        tokens=document.lengths.total if document.lengths else None,
        counts=count(collected, fates),
        screening=screening,
        html=f"{spec.out}/{HTML_NAME}",
        versions={"safety-worker": __version__},
    )


def member(row: BlendRow) -> Member:
    """The row in its prompt group."""
    return Member(row.digest, row.group or group_form(row.request))


def decide(spec: AssembleStage, collected: Path, judges: list[JudgeSpec], context: StageContext) -> Decided:
    """The fate of every collected row.

    Raises
    ------
    InputError
        If a verdict could not be read and ``keep.onUnparsed`` is ``fail``.
    """
    answers: dict[tuple[str, str], list[GeneratedRow]] = defaultdict(list)
    for answer in read_rows(context.store.input(spec.answered), "rows", GeneratedRow).values():
        answers[answer.suite, answer.digest].append(answer)
    verdicts: dict[str, list[VerdictRow]] = defaultdict(list)
    for verdict in read_rows(context.store.path(spec.judged), "verdicts", VerdictRow).values():
        verdicts[f"{verdict.suite}/{verdict.digest}/{verdict.candidate}"].append(verdict)
    unparsed = sum(any(verdict.unparsed for verdict in group) for group in verdicts.values())
    if unparsed and spec.on_unparsed == "fail":
        raise InputError(
            "UnparsedVerdicts", f"{unparsed} answers could not be judged and keep.onUnparsed is fail"
        )
    rule = rule_of(spec, len(judges))
    render = renderer(context.store.path(spec.tokenizer)) if spec.tokenizer else None
    rows = read_collected(collected)
    decided = Decided([], [])
    for number, row in enumerate(rows):
        found = look_at(answers[row.part, row.digest], verdicts, rule)
        choice = pick(found, rule)
        fate = Fate(row, choice.answer, choice.candidate, choice.reason, source=choice.source)
        decided.fates.append(measure(fate, render, spec) if render else fate)
        if choice.reason or (choice.source and row.part == "safety"):
            decided.unkept.append(Unkept(row, found))
        context.report_progress(
            Progress(stage="assemble", done=number + 1, total=len(rows), message="choosing answers")
        )
    return decided


def measure(fate: Fate, render: Render, spec: AssembleStage) -> Fate:
    """The fate with the row's length; rows that are too long, or that the chat template refuses, are dropped.

    Raises
    ------
    InputError
        If reasoning is kept and the chat template leaves it out: then it would be paid for and not learnt.
    """
    if fate.reason:
        return fate
    rendered = render(messages(fate.row, fate.answer))
    if rendered is None:
        return fate._replace(reason=TEMPLATE_REASON)
    trace = reasoning_of(fate.answer, spec.reasoning_end) if spec.reasoning == "keep" else ""
    if bare(trace, spec.reasoning_end) not in rendered.text:
        raise InputError(
            "ReasoningLost",
            "filter.reasoning is keep, but the chat template of onPolicy.model leaves reasoning out of what "
            "is trained on: set it to strip, or use a model whose chat template keeps it",
        )
    too_long = rendered.tokens > spec.max_tokens
    return fate._replace(tokens=rendered.tokens, reason=LENGTH_REASON if too_long else "")


def apply_screening(spec: AssembleStage, fates: list[Fate], context: StageContext) -> Screened:
    """Take out or flag the rows that screening selects.

    Rows that were to be screened and have no score are selected as well: nobody knows that they are harmless.
    """
    wanted = spec.selection
    if wanted is None:
        return Screened(fates, None)
    scores = read_scores(context.store.input(spec.screened), wanted.method)
    selected = select(scores, wanted)
    found = []
    for fate in fates:
        key = key_of(fate.row.part, fate.row.digest)
        reason = "screened" if key in selected.rows else "unscored" if key in selected.unscored else ""
        dropped = reason if wanted.action == "drop" and not fate.reason else fate.reason
        found.append(fate._replace(reason=dropped, flagged=bool(reason), place=scores.get(key)))
    summary = Screening(
        method=wanted.method,
        scored=len(scores) - len(selected.unscored),
        unscored=len(selected.unscored),
        selected=len(selected.rows) + len(selected.unscored),
        cut=selected.cut,
    )
    return Screened(found, summary)


def read_screening(spec: AssembleStage, context: StageContext) -> Any:
    """What the screen stage says of its scores; None if nothing was screened."""
    if spec.selection is None:
        return None
    return json.loads((context.store.path(spec.screened) / SUMMARY_NAME).read_text(encoding="utf-8"))


def write_document(folder: Path, document: BlendReport, scores: Any) -> None:
    """Write ``blend.json`` and what is made from it; ``scores`` as :func:`read_screening` gives them."""
    atomic_write_text(folder / "lineage.json", json.dumps(document.lineage, indent=1, sort_keys=True))
    text = json.dumps(document.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False)
    atomic_write_text(folder / "blend.json", text + "\n")
    atomic_write_text(folder / "README.md", card.render(document))
    atomic_write_text(folder / HTML_NAME, blend_page.render(document, scores))


def count(collected: Path, fates: list[Fate]) -> tuple[Counts, ...]:
    """The collect stage's counts, continued by what happened since."""
    earlier = StageResult.model_validate_json((collected / RESULT_NAME).read_text(encoding="utf-8")).counts
    seen = Counter((fate.row.origin.source, fate.reason) for fate in fates)
    unanswered = ("unanswered", "truncated")
    borrowed = Counter(
        fate.row.origin.source
        for fate in fates
        if fate.source and fate.row.part == "safety" and not fate.reason
    )
    return tuple(
        item.model_copy(
            update={
                "generated": item.sampled - sum(seen[item.source, reason] for reason in unanswered),
                "unsafe": seen[item.source, "unsafe"],
                "unparsed": seen[item.source, "unparsed"],
                "screened": seen[item.source, "screened"] + seen[item.source, "unscored"],
                "kept": seen[item.source, ""],
                "fallback": borrowed[item.source],
            }
        )
        for item in earlier
    )


def _lineage(spec: AssembleStage, context: StageContext) -> dict[str, str]:
    """Digests that the operator knows, and those of the stages that this one reads."""
    lineage = dict(spec.lineage)
    for name, path in (
        ("collected", spec.collected),
        ("answered", spec.answered),
        ("judged", spec.judged),
        ("screened", spec.screened),
    ):
        if not path:
            continue
        manifest = context.store.manifest(path)
        lineage[name] = manifest.digest if manifest else ""
    lineage["safety-worker"] = __version__
    return lineage
