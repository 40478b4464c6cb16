"""Judges that are models on a server: many questions at a time, verdicts as they come.

An output that cannot be read is asked for once more and then stands as unparsed, which counts against the
model under test. A server that fails is waited for as in generation; if it stays away the stage fails and
tries again later, and nothing is judged on its behalf.
"""

from collections.abc import AsyncIterator

from safety_records.sampling import Sampling
from safety_records.stage_base import ServedModel
from safety_worker.generation.client import CHAT, RAW, ChatClient, PromptRefusedError
from safety_worker.generation.completion import LENGTH, WITHHELD, Completion
from safety_worker.generation.retries import RetryPolicy
from safety_worker.generation.tasks import run_in_slots
from safety_worker.judging.base import Pair, unjudgeable
from safety_worker.judging.formats.base import MAX_OUTPUT, Format
from safety_worker.judging.queue import JudgeQueue, JudgeTask
from safety_worker.judging.registry import FORMATS
from safety_worker.rows import GeneratedRow, Verdict

TRIES = 2
"""How often a judge is asked for a verdict that can be read."""


async def judge_served(
    queue: JudgeQueue, server: ServedModel, api_key: str, concurrency: int, policy: RetryPolicy
) -> None:
    """Judge everything in the queue of one judge. Its server is waited for once there is a task.

    Raises
    ------
    WorkerError
        As the client does. Verdicts that were given stay.
    """
    name, judge = queue.judge.name, FORMATS[queue.judge.type](queue.judge)
    tasks = queue.tasks()
    first = await anext(tasks, None)
    if first is None:
        return
    route = RAW if isinstance(judge.ask(Pair("", "")), str) else CHAT
    async with ChatClient(server, api_key, concurrency, policy) as client:
        queue.report(f"waiting for judge {name}")
        await client.wait_ready(lambda text: queue.report(f"judge {name}: {text}"), route)

        async def work(task: JudgeTask) -> None:
            verdict = unjudgeable(task.row)
            queue.keep(task, await _verdict(task.row, judge, client) if verdict is None else verdict)

        await run_in_slots(_chained(first, tasks), work, concurrency)


async def _chained(first: JudgeTask, others: AsyncIterator[JudgeTask]) -> AsyncIterator[JudgeTask]:
    yield first
    async for task in others:
        yield task


async def _verdict(row: GeneratedRow, judge: Format, client: ChatClient) -> Verdict:
    """A judge's verdict on one row; unparsed if it gives none."""
    question = judge.ask(Pair(row.prompt, row.answer, row.context))
    sampling = Sampling(temperature=0.0, max_tokens=judge.max_tokens)
    for _ in range(TRIES):
        try:
            completion = await client.complete(question, sampling)
        except PromptRefusedError as error:
            return Verdict(safe=None, unparsed=True, detail=f"judge answers {error}")
        verdict = judge.read(completion.text[:MAX_OUTPUT])
        if verdict is not None:
            return verdict
    return Verdict(safe=None, unparsed=True, detail=_unreadable(completion))


def _unreadable(completion: Completion) -> str:
    """What is wrong with an output without a verdict."""
    if completion.finish_reason == LENGTH:
        return "output cut off"
    if completion.text.strip():
        return "output not readable"
    if completion.finish_reason.startswith(WITHHELD):
        return "output withheld by a content filter"
    return "reasoning without an output" if completion.reasoning else "no output"
