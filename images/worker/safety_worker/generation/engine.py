"""The engine: many questions to one server, no barriers, finished answers on disk as they come.

Used by the generate stage of SafetyEval and the answer stage of SafetyBlend.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from safety_records.progress import Progress
from safety_records.sampling import Sampling
from safety_records.stage_base import ServedModel
from safety_worker.context import StageContext
from safety_worker.empty_answers import EmptyReason, find_empty_reason, has_text
from safety_worker.errors import InputError
from safety_worker.generation.client import ChatClient, PromptRefusedError
from safety_worker.generation.completion import LENGTH, WITHHELD, Completion
from safety_worker.generation.error_words import Cause
from safety_worker.generation.reasoning import joined, reasoning_of, strip_reasoning
from safety_worker.generation.retries import RetryPolicy
from safety_worker.generation.shards import FSYNC_SECONDS, ShardWriter
from safety_worker.generation.tasks import run_in_slots, run_tasks, run_with_background
from safety_worker.rows import GeneratedRow, Message, PromptRow, row_seed

DEFAULT_POLICY = RetryPolicy()


@dataclass(frozen=True)
class PromptRequest:
    """One answer that is wanted."""

    row: PromptRow
    suite: str
    text: str
    """What the model is asked: the prompt, or the prompt in a wrapper."""
    candidate: int = 0

    @property
    def key(self) -> str:
        """Key of the row that will answer it."""
        return f"{self.suite}/{self.row.digest}/{self.candidate}"


@dataclass(frozen=True)
class AnsweringTask:
    """What the engine needs to know besides the questions."""

    stage: str
    server: ServedModel
    sampling: Sampling
    concurrency: int
    policy: RetryPolicy = DEFAULT_POLICY
    rails: bool = False
    """Whether the server is a guarded endpoint, which marks answers that its rails withheld."""
    more_tokens: int | None = None
    """Room of a second try for answers that ended at the token limit; None: there is none."""
    keep_reasoning: bool = False
    """Whether rows keep the reasoning of their answers."""
    timed: bool = False
    """Whether rows say how long their answers took; then no run has the digest of another."""


class _Meter:
    """Counts finished rows and tokens and reports them."""

    def __init__(self, stage: str, done: int, total: int, report: Callable[[Progress], None]) -> None:
        self._stage = stage
        self._done = done
        self._total = total
        self._report = report
        self._tokens = 0
        self._start = time.monotonic()

    def say(self, message: str) -> None:
        seconds = time.monotonic() - self._start
        rate = round(self._tokens / seconds, 1) if self._tokens and seconds > 0 else None
        self._report(
            Progress(
                stage=self._stage,
                done=self._done,
                total=self._total,
                message=message[:200],
                tokens_per_second=rate,
            )
        )

    def count(self, row: GeneratedRow) -> None:
        self._done += 1
        self._tokens += row.completion_tokens or 0
        self.say("answering prompts")


def answer_questions(
    questions: Sequence[PromptRequest],
    task: AnsweringTask,
    writer: ShardWriter[GeneratedRow],
    context: StageContext,
) -> tuple[str, ...]:
    """Answer every question that the writer has no row of yet.

    Returns when all are answered, with warnings about the server. Rows finished before an error or a
    signal stay in the writer's files.

    Raises
    ------
    WorkerError
        As :class:`ChatClient` does; the first one ends the run.
    """
    open_questions = by_prefix(question for question in questions if question.key not in writer.finished)
    meter = _Meter(task.stage, len(questions) - len(open_questions), len(questions), context.report_progress)
    if not open_questions:
        meter.say("all prompts were answered before")
        return ()
    try:
        return run_tasks(
            _answer(open_questions, task, writer, meter, context.secret(task.server.api_key_env))
        )
    finally:
        writer.close()


def by_prefix(questions: Iterable[PromptRequest]) -> list[PromptRequest]:
    """Questions in an order in which those that begin alike follow each other.

    A server keeps what it computed for the beginning of a prompt; it finds it again if not too much came
    between. System prompts, earlier turns, jailbreak templates and candidates of one prompt begin alike.
    """

    def beginning(question: PromptRequest) -> list[tuple[str, str]]:
        return [
            *((message.role, message.content) for message in question.row.context),
            ("user", question.text),
        ]

    return sorted(questions, key=beginning)


async def _answer(
    questions: Sequence[PromptRequest],
    task: AnsweringTask,
    writer: ShardWriter[GeneratedRow],
    meter: _Meter,
    key: str,
) -> tuple[str, ...]:
    client = ChatClient(task.server, key, task.concurrency, task.policy, steady=task.timed)
    async with client:
        meter.say("waiting for the model server")
        await client.wait_ready(meter.say)
        meter.say("answering prompts")

        async def work(question: PromptRequest) -> None:
            row = await _answer_one(question, client, task)
            writer.append(row)
            meter.count(row)

        asking = run_in_slots(_each(questions), work, min(task.concurrency, len(questions)))
        await run_with_background(_keep(writer, meter), asking)
        return (client.warning,) if client.warning else ()


async def _each(questions: Sequence[PromptRequest]) -> AsyncIterator[PromptRequest]:
    for question in questions:
        yield question


async def _answer_one(question: PromptRequest, client: ChatClient, task: AnsweringTask) -> GeneratedRow:
    seed = row_seed(task.sampling.seed, question.row.digest, question.candidate)
    messages = [*question.row.context, Message(role="user", content=question.text)]
    try:
        return await _ask(question, messages, seed, client, task)
    except PromptRefusedError as error:
        return GeneratedRow.of(question.row, question.suite, question.candidate, answer="", error=str(error))


async def _ask(
    question: PromptRequest,
    messages: Sequence[Message],
    seed: int,
    client: ChatClient,
    task: AnsweringTask,
) -> GeneratedRow:
    """Ask once; a second time with more room, where there is any, if the answer ended at its limit.

    The second try has the same seed and so begins alike. A server whose context is too short for it leaves
    the first answer as it is.
    """
    completion = await client.complete(messages, task.sampling, seed)
    if completion.finish_reason != LENGTH or not task.more_tokens:
        return build_generated_row(question, completion, task)
    larger = task.sampling.model_copy(update={"max_tokens": task.more_tokens})
    try:
        completion = await client.complete(messages, larger, seed)
    except PromptRefusedError:
        return build_generated_row(question, completion, task)
    row = build_generated_row(question, completion, task)
    return row.model_copy(update={"regenerated": True})


async def _keep(writer: ShardWriter[GeneratedRow], meter: _Meter) -> None:
    """Sync files and report every second, also while no answer comes."""
    while True:
        await asyncio.sleep(FSYNC_SECONDS)
        await asyncio.to_thread(writer.sync)  # a volume may be slow, and a bucket is
        meter.say("answering prompts")


def build_generated_row(question: PromptRequest, completion: Completion, task: AnsweringTask) -> GeneratedRow:
    """The answer as a row, without its reasoning. Rails show none, unless its tags are unknown to them.

    A content filter of any other server is no rails of ours: what it withholds is not answered.
    """
    withheld = completion.finish_reason.startswith(WITHHELD)
    blocked = task.rails and withheld
    end = task.sampling.reasoning_end
    if blocked or (task.rails and end not in completion.text):
        end = ""
    cut_off = completion.finish_reason == LENGTH
    text, left = completion.text, True
    if completion.reasoning:
        left = not (cut_off and not has_text(text))
        text = joined(completion.reasoning, text, end) if left else ""
    answer, found_end = strip_reasoning(text, end)
    return GeneratedRow.of(
        question.row,
        question.suite,
        question.candidate,
        answer=answer,
        reasoning=reasoning_of(text, end) if task.keep_reasoning else "",
        finish_reason=completion.finish_reason[:40],
        truncated=cut_off,
        truncated_reasoning=not (left and found_end),
        only_reasoning=find_empty_reason(answer, reasoning=_holds_reasoning(completion))
        is EmptyReason.REASONING,
        blocked=blocked,
        error=Cause.FILTERED.value if withheld and not blocked and not completion.text.strip() else "",
        seconds=completion.seconds if task.timed else None,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
    )


def _holds_reasoning(completion: Completion) -> bool:
    """Whether there is anything, in a field of its own or in the text, that could be reasoning."""
    return bool(completion.reasoning) or find_empty_reason(completion.text) is not EmptyReason.EMPTY


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
