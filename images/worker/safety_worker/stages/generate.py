"""The generate stage of a SafetyEval: answer every prompt of the suites.

Output: ``rows-*.jsonl`` of GeneratedRow, ``suites.json`` (what was read and drawn), ``dropped.jsonl``.
"""

import json
from collections import Counter

from safety_records.eval_stages import GenerateStage
from safety_records.result import StageResult
from safety_worker.artifacts.files import atomic_write_text, write_lines
from safety_worker.context import StageContext
from safety_worker.datasets.suites import SUITES_NAME, count_suite, describe_suite, read_suite
from safety_worker.generation.engine import AnsweringTask, PromptRequest, answer_questions, check_answers
from safety_worker.generation.shards import ShardWriter
from safety_worker.rows import GeneratedRow


def run(spec: GenerateStage, context: StageContext) -> StageResult:
    """Answer every prompt of the specification."""
    suites = [read_suite(suite, context) for suite in spec.suites]
    questions = [
        PromptRequest(row=row, suite=item.suite.name, text=row.prompt) for item in suites for row in item.rows
    ]
    folder = context.store.output(spec.out)
    parser = spec.target.reasoning_parser  # decides what of an answer is judged
    sampling = spec.sampling.model_dump(mode="json") | ({"reasoning_parser": parser} if parser else {})
    described = [{**describe_suite(item), "sampling": sampling} for item in suites]
    atomic_write_text(folder / SUITES_NAME, json.dumps(described, indent=1))
    write_lines(folder / "dropped.jsonl", (row.to_json() for item in suites for row in item.dropped))
    writer = ShardWriter(context.store, spec.out, "rows", GeneratedRow)
    task = AnsweringTask(
        "generate", spec.target, spec.sampling, spec.concurrency, rails=spec.rails, timed=spec.timed
    )
    warnings = answer_questions(questions, task, writer, context)
    rows = writer.consolidate({question.key for question in questions})
    check_answers(rows.values())
    answered = Counter(row.suite for row in rows.values() if not row.error)
    return StageResult(
        stage="generate",
        inputs_hash=spec.inputs_hash,
        rows=len(rows),
        tokens=sum(row.completion_tokens or 0 for row in rows.values()),
        counts=tuple(count_suite(item, answered[item.suite.name]) for item in suites),
        warnings=(
            *(f"suite {item.suite.name}: {text}" for item in suites for text in item.data.warnings),
            *warnings,
        ),
    )
