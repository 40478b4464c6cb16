"""The answer stage of a SafetyBlend: the model's own answers.

Safety rows are asked in the refusal wrapper, several times if candidates are wanted, and by their bare
request where the prompt wraps it in a jailbreak; retain rows without a response are asked as they are;
retain rows with one keep it. As a fallback the responses that safety rows came with are one more candidate,
judged like the others. Output: ``rows-*.jsonl`` of GeneratedRow.
"""

from collections.abc import Iterator

from safety_records.blend_stages import AnswerStage
from safety_records.result import StageResult
from safety_worker.blending.collected import read_collected
from safety_worker.context import StageContext
from safety_worker.empty_answers import has_text
from safety_worker.errors import InputError
from safety_worker.generation.engine import AnsweringTask, PromptRequest, answer_questions, check_answers
from safety_worker.generation.reasoning import end_in, opening_of, reasoning_of, strip_reasoning
from safety_worker.generation.refusal_wrapper import compile_wrapper
from safety_worker.generation.shards import ShardWriter
from safety_worker.rows import SOURCE, BlendRow, GeneratedRow


def run(spec: AnswerStage, context: StageContext) -> StageResult:
    """Answer the collected rows."""
    rows = read_collected(context.store.input(spec.collected))
    questions = list(questions_of(rows, spec))
    given = [answer for row in rows if (answer := given_answer(row, spec)) is not None]
    if spec.fallback == SOURCE and not any(answer.suite == "safety" for answer in given):
        raise InputError(
            "NoResponses",
            "onPolicy.fallback is source, but no safety row has a response that is labelled safe or not "
            "labelled: name columns.response of a source, say in columns.labels what its labels mean, or "
            "set fallback to drop",
        )
    writer = ShardWriter(context.store, spec.out, "rows", GeneratedRow)
    for answer in given:
        if answer.key not in writer.finished:
            writer.append(answer)
    task = AnsweringTask(
        "answer",
        spec.target,
        spec.sampling,
        spec.concurrency,
        more_tokens=spec.more_tokens,
        keep_reasoning=True,
    )
    warnings = answer_questions(questions, task, writer, context)
    answered = writer.consolidate({question.key for question in questions} | {row.key for row in given})
    check_answers([row for row in answered.values() if row.finish_reason != SOURCE])
    return StageResult(
        stage="answer",
        inputs_hash=spec.inputs_hash,
        rows=len(answered),
        tokens=sum(row.completion_tokens or 0 for row in answered.values()),
        warnings=warnings,
    )


def questions_of(rows: list[BlendRow], spec: AnswerStage) -> Iterator[PromptRequest]:
    """What to ask the model; the engine puts it into an order that suits the server."""
    wrap = compile_wrapper(spec.template)
    for candidate in range(spec.candidates):
        for row in rows:
            if row.part == "safety":
                text = row.request if row.benign else wrap(row.request, row.categories)
                yield PromptRequest(row, "safety", text, candidate)
            elif not row.response and candidate == 0:
                yield PromptRequest(row, "retain", row.prompt)


def given_answer(row: BlendRow, spec: AnswerStage) -> GeneratedRow | None:
    """The response that a row came with, if it is used: of retain rows, and of safety rows as a fallback.

    One whose label is not known to mean safe is no fallback.
    """
    safety = row.part == "safety"
    if safety and (spec.fallback != SOURCE or row.label not in {"", "safe"}):
        return None
    end = spec.sampling.reasoning_end or end_in(row.response)
    reasoning = reasoning_of(row.response, end)
    unfinished = not reasoning and bool(end) and opening_of(end) in row.response
    if not unfinished and not has_text(row.response):
        return None
    answer = strip_reasoning(row.response, end)[0] if reasoning else row.response
    return GeneratedRow.of(
        row,
        row.part,
        spec.candidates if safety else 0,
        answer="" if unfinished else answer,
        reasoning=reasoning,
        finish_reason=SOURCE,
        truncated_reasoning=unfinished,
    )
