"""The dataset card: README.md of a blend, for people who meet the files without their resource.

Its head is what the Hugging Face hub and ``datasets.load_dataset(FOLDER)`` read. Sources' texts are escaped.
"""

from collections.abc import Iterable, Sequence

import yaml

from safety_records.blend import BlendReport
from safety_worker.blending.wording import (
    REASON_WORDS,
    STEP_WORDS,
    answer_words,
    beginning_words,
    outcome_columns,
    rule_lines,
    screening_words,
)
from safety_worker.judging.phrases.quality import quality_text
from safety_worker.reporting.wording import markdown_text, visible

ABOUT = """\
conversation in `messages`: what TRL and NeMo-RL read without further settings. Prompts are the sources' \
own; answers are those of the model that is to be trained, unless a source had them."""

FILES = (
    ("`rows.parquet`", "origin and outcome of every row of every source"),
    ("`no-safe-answer.jsonl`", "rows that no answer could be kept for, with their candidates"),
    ("`blend.json`, `blend.html`", "all numbers, and the picture of the flow of rows"),
    ("`lineage.json`", "digests of everything that is in the blend"),
)

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""Size categories of the hub: upper bound, name."""

AGREEMENT = {"all": "all of them", "any": "at least one of them", "majority": "more than half of them"}


def render(report: BlendReport) -> str:
    """The card of a blend."""
    sections = [
        _head(report),
        f"# Blend {markdown_text(report.namespace)}/{markdown_text(report.name)}",
        f"{report.train_rows} rows for training and {report.validation_rows} for validation, each a {ABOUT}",
        "## Files",
        _files(report),
        "## Sources",
        _sources(report),
        *([_list(f"Warning: {markdown_text(text)}" for text in report.warnings)] if report.warnings else []),
        "A blend is under the licences of all its sources; where one is not stated, ask its owner.",
        "## Rows",
        _steps(report),
        _outcomes(report),
        "## Filters",
        _list(_filters(report)),
        "## Screening",
        screening_words(report),
        "## Lineage",
        _list(f"{markdown_text(name)}: {_code(value)}" for name, value in sorted(report.lineage.items())),
        "## Versions",
        _list(f"{markdown_text(name)}: {_code(value)}" for name, value in sorted(report.versions.items())),
    ]
    return "\n\n".join(sections) + "\n"


def _head(report: BlendReport) -> str:
    files = [{"split": "train", "path": f"train.{report.format}"}]
    if report.validation_rows:
        files.append({"split": "validation", "path": f"validation.{report.format}"})
    total = report.train_rows + report.validation_rows
    size = next((name for bound, name in SIZES if total < bound), "n>1M")
    head = {
        "license": "other",
        "license_name": "see-sources",
        "task_categories": ["text-generation"],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---"


def _files(report: BlendReport) -> str:
    parts = [
        (f"`train.{report.format}`", "rows for training"),
        (f"`validation.{report.format}`", "rows for validation"),
    ]
    return _table(("file", "content"), [*parts, *FILES])


def _sources(report: BlendReport) -> str:
    md = markdown_text
    rows = [
        (
            _code(item.name),
            item.part,
            md(item.title),
            f"{md(item.origin)}{beginning_words(item)}",
            md(item.licence),
            _code(item.digest),
        )
        for item in report.sources
    ]
    return _table(("source", "part", "data set", "origin", "licence", "digest"), rows)


def _steps(report: BlendReport) -> str:
    rows = [
        (
            STEP_WORDS[step.name],
            step.left,
            step.safety,
            step.retain,
            ", ".join(f"{drop.rows} {_reason(drop.reason)}" for drop in step.dropped) or "none",
        )
        for step in report.steps
    ]
    return _table(("rows", "all", "safety", "retain", "left out before"), rows)


def _outcomes(report: BlendReport) -> str:
    columns = outcome_columns(report)
    rows = [
        (_code(item.name), item.read, *(item.fates.get(name, 0) for name in columns))
        for item in report.sources
    ]
    return _table(("source", "read", *map(_reason, columns)), rows)


def _filters(report: BlendReport) -> list[str]:
    judges = ", ".join(
        f"{markdown_text(judge.name)} ({', '.join(filter(None, (judge.type, markdown_text(judge.model))))})"
        for judge in report.judges
    )
    lines = [f"{markdown_text(name)}: {markdown_text(words)}" for name, words in rule_lines(report)]
    lines += [
        f"Answers: {answer_words(report)}",
        f"Judges: {judges}; {AGREEMENT[report.agreement]} must pass an answer.",
        *(
            f"{markdown_text(judge.name)}: {quality_text(judge.quality)}"
            for judge in report.judges
            if judge.quality
        ),
        "An answer that one of them could not read is never kept.",
        "Answers that reached the token limit end at their last whole sentence.",
    ]
    lengths = report.lengths
    if lengths is None:
        lines.append("Length: not checked, because there was no tokenizer.")
    else:
        lines.append(
            f"Length: rows over {lengths.limit} tokens of the model's own tokenizer and chat template are "
            f"left out. Longest {lengths.longest}, median {lengths.median}, {lengths.total} in all."
        )
    lines.append(
        f"Validation: {report.validation_share:g} of the rows, by prompt group, seed {report.split_seed}. "
        "Rows that ask for nearly the same are never on both sides."
    )
    if report.validation_share and not report.validation_rows:
        lines.append("All rows are one prompt group, so there is no validation part.")
    return lines


def _code(text: str) -> str:
    """Text that stays text in a code span of a table's cell."""
    line = " ".join(visible(text).split()).replace("`", "'").replace("|", "/")
    return f"`{line}`" if line else ""


def _reason(name: str) -> str:
    return markdown_text(REASON_WORDS.get(name, name))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
