"""Suites of an evaluation: their prompts as they are asked, and their description in ``suites.json``."""

from typing import NamedTuple

from safety_records.eval_stages import EvalSuite
from safety_records.result import Counts
from safety_worker.context import StageContext
from safety_worker.datasets.conversation import with_system
from safety_worker.datasets.loading import MAX_INVALID_SHARE, LoadedData, check_invalid, load_dataset
from safety_worker.datasets.sampling import deduplicate, draw
from safety_worker.errors import InputError
from safety_worker.rows import DroppedRow, PromptRow, row_digest

SUITES_NAME = "suites.json"
"""What each suite consists of; read by the score and report stages."""


class SuiteRows(NamedTuple):
    """A suite's prompts, ready to be asked."""

    suite: EvalSuite
    data: LoadedData
    rows: list[PromptRow]
    dropped: list[DroppedRow]


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
        raise InputError("NoRows", f"suite {suite.name} has no prompts: {data.source.origin} is empty")
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


def describe_suite(item: SuiteRows) -> dict[str, object]:
    """What a suite consists of, for reports."""
    return {
        "name": item.suite.name,
        "expect": item.suite.expect,
        "judge": item.suite.judge,
        **item.data.source.describe(),
        "read": item.data.read,
        "invalid": len(item.data.invalid),
        "filtered": len(item.data.filtered),
        "duplicate": _num_duplicates(item),
        "asked": len(item.rows),
        "limit": item.suite.dataset.limit,
        "seed": item.suite.dataset.seed,
    }


def _num_duplicates(item: SuiteRows) -> int:
    return sum(row.reason == "duplicate" for row in item.dropped)


def count_suite(item: SuiteRows, answered: int) -> Counts:
    """The suite's rows through the generate stage; ``answered``: those with an answer."""
    return Counts(
        source=item.suite.name,
        read=item.data.read,
        invalid=len(item.data.invalid),
        duplicate=_num_duplicates(item),
        sampled=len(item.rows),
        generated=answered,
    )
