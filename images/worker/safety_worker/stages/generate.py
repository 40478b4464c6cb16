"""The generate stage of a SafetyEval: answer every prompt of the suites.

Output: ``rows-*.jsonl`` of GeneratedRow, ``suites.json`` (what was read and drawn), ``dropped.jsonl``.
"""

import json
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from safety_records.result import Counts, StageResult
from safety_records.stages import EvalSuite, GenerateStage
from safety_worker.artifacts.files import atomic_write_text, write_lines
from safety_worker.context import StageContext
from safety_worker.datasets.conversation import with_system
from safety_worker.datasets.loading import MAX_INVALID_SHARE, LoadedData, check_invalid, load_dataset
from safety_worker.datasets.sampling import deduplicate, draw
from safety_worker.errors import InputError
from safety_worker.generation.engine import Question, Task, answer_questions
from safety_worker.generation.shards import ShardWriter
from safety_worker.rows import DroppedRow, GeneratedRow, PromptRow, row_digest

SUITES_NAME = "suites.json"
"""What each suite consists of; read by the score and report stages."""


class SuiteRows(NamedTuple):
    """A suite's prompts, ready to be asked."""

    suite: EvalSuite
    data: LoadedData
    rows: list[PromptRow]
    dropped: list[DroppedRow]


def run(spec: GenerateStage, context: StageContext) -> StageResult:
    """Answer every prompt of the specification."""
    suites = [read_suite(suite, context) for suite in spec.suites]
    questions = [
        Question(row=row, suite=item.suite.name, text=row.prompt) for item in suites for row in item.rows
    ]
    folder = context.store.output(spec.out)
    sampling = spec.sampling.model_dump(mode="json")
    described = [{**describe(item), "sampling": sampling} for item in suites]
    atomic_write_text(folder / SUITES_NAME, json.dumps(described, indent=1))
    write_lines(folder / "dropped.jsonl", (row.to_json() for item in suites for row in item.dropped))
    writer = ShardWriter(context.store, spec.out, "rows", GeneratedRow)
    task = Task("generate", spec.target, spec.sampling, spec.concurrency, rails=spec.rails, timed=spec.timed)
    warnings = answer_questions(questions, task, writer, context)
    rows = writer.consolidate()
    check_answers(rows.values())
    answered = Counter(row.suite for row in rows.values() if not row.error)
    return StageResult(
        stage="generate",
        inputs_hash=spec.inputs_hash,
        rows=len(rows),
        tokens=sum(row.completion_tokens or 0 for row in rows.values()),
        counts=tuple(_counts(item, answered[item.suite.name]) for item in suites),
        warnings=(
            *(f"suite {item.suite.name}: {text}" for item in suites for text in item.data.said),
            *warnings,
        ),
    )


def read_suite(suite: EvalSuite, context: StageContext) -> SuiteRows:
    """Read, de-duplicate and draw a suite's prompts.

    Raises
    ------
    InputError
        If too many rows are malformed, or none is left.
    """
    data = load_dataset(suite.name, suite.dataset, context)
    check_invalid(data, MAX_INVALID_SHARE)
    unique = deduplicate([with_suite_prompt(row, suite.system) for row in data.rows])
    limit = suite.dataset.limit
    rows = unique.kept if limit is None else draw(unique.kept, limit, suite.dataset.seed)
    if not rows:
        raise InputError("NoRows", f"suite {suite.name} has no prompts: {data.origin} is empty")
    duplicates = [
        DroppedRow(
            source=row.origin.source,
            file=row.origin.file,
            index=row.origin.index,
            digest=row.digest,
            reason="duplicate",
            detail=f"of {kept.origin.file} record {kept.origin.index}",
        )
        for row, kept in unique.dropped
    ]
    return SuiteRows(suite, data, rows, [*data.invalid, *data.filtered, *duplicates])


def with_suite_prompt(row: PromptRow, system: str) -> PromptRow:
    """The row behind the suite's system prompt, unless it has one of its own."""
    context = with_system(row.context, system)
    if context == row.context:
        return row
    digest = row_digest(row.prompt, row.response, context)
    return row.model_copy(update={"context": context, "digest": digest})


def describe(item: SuiteRows) -> dict[str, object]:
    """What a suite consists of, for reports."""
    return {
        "name": item.suite.name,
        "expect": item.suite.expect,
        "judge": item.suite.judge,
        "title": item.data.title,
        "licence": item.data.licence,
        "origin": item.data.origin,
        "digest": item.data.digest,
        "read": item.data.read,
        "invalid": len(item.data.invalid),
        "filtered": len(item.data.filtered),
        "duplicate": _num_duplicates(item),
        "asked": len(item.rows),
        "limit": item.suite.dataset.limit,
        "seed": item.suite.dataset.seed,
    }


def check_answers(rows: Collection[GeneratedRow]) -> None:
    """Refuse a run in which the server answered nothing.

    Raises
    ------
    InputError
        If the server refused every prompt.
    """
    errors = Counter(row.error for row in rows if row.error)
    if rows and sum(errors.values()) == len(rows):
        raise InputError(
            "AllPromptsRefused",
            f"the server refused all {len(rows)} prompts, though not a greeting: "
            f"{', '.join(error for error, _ in errors.most_common(3))}",
        )


def _num_duplicates(item: SuiteRows) -> int:
    return sum(row.reason == "duplicate" for row in item.dropped)


def _counts(item: SuiteRows, answered: int) -> Counts:
    return Counts(
        source=item.suite.name,
        read=item.data.read,
        invalid=len(item.data.invalid),
        duplicate=_num_duplicates(item),
        sampled=len(item.rows),
        generated=answered,
    )
