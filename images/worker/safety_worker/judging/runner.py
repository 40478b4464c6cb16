"""Runs all judges of a stage at the same time; their verdicts are on disk as they come.

Judges that are models on servers are asked by many requests at a time; those of this process get batches, in
a thread, so that nobody waits for them. Each judge takes its tasks as it gets on: a slow one keeps no other
waiting. Used by the judge stage.
"""

import asyncio
from collections.abc import Sequence

from safety_records.eval_stages import JudgeSpec
from safety_records.progress import Progress
from safety_worker.context import StageContext
from safety_worker.generation.retries import RetryPolicy
from safety_worker.generation.shards import FSYNC_SECONDS, ShardWriter
from safety_worker.generation.tasks import run_tasks, run_with_background
from safety_worker.judging.base import Judge, Pair, unjudgeable
from safety_worker.judging.queue import JudgeQueue, JudgeTask, TaskChunks
from safety_worker.judging.registry import IN_PROCESS
from safety_worker.judging.served import judge_served
from safety_worker.rows import Verdict, VerdictRow

BATCH = 64
"""Answers given to a judge at a time: classifiers on CPU gain nothing from more."""


class JudgeRunner:
    """Runs judges whose verdicts go into one output folder.

    Parameters
    ----------
    context
        The stage's surroundings.
    out
        Output folder.
    concurrency
        Requests at a time to each judge that is served.
    policy
        How long to wait for what.
    """

    def __init__(self, context: StageContext, out: str, concurrency: int, policy: RetryPolicy) -> None:
        self._context = context
        self._out = out
        self._concurrency = concurrency
        self._policy = policy

    def judge(self, prefix: str, work: Sequence[tuple[JudgeSpec, TaskChunks]]) -> ShardWriter[VerdictRow]:
        """Do all tasks of several judges; those of an earlier try are not repeated.

        Gives back the closed writer of ``<prefix>-*.jsonl``: verdicts become shards when it consolidates.

        Raises
        ------
        WorkerError
            As judges, clients and sources do; the first one ends all. Verdicts that were given stay.
        """
        writer = ShardWriter(self._context.store, self._out, prefix, VerdictRow)
        queues = [JudgeQueue(judge, source, writer, self._context) for judge, source in work]
        try:
            run_tasks(run_with_background(_sync(writer), self._judge_all(queues)))
        finally:
            writer.close()
        done = len(writer.finished)
        self._context.report_progress(Progress(stage="judge", done=done, total=done, message="judged"))
        return writer

    async def _judge_all(self, queues: Sequence[JudgeQueue]) -> None:
        async with asyncio.TaskGroup() as group:
            for queue in queues:
                group.create_task(self._judge_one(queue))

    async def _judge_one(self, queue: JudgeQueue) -> None:
        served = queue.judge.served
        if served is None:
            await judge_in_process(queue, self._context)
        else:
            key = self._context.secret(served.api_key_env)
            await judge_served(queue, served, key, self._concurrency, self._policy)


async def _sync(writer: ShardWriter[VerdictRow]) -> None:
    """Write verdicts to the disk every second."""
    while True:
        await asyncio.sleep(FSYNC_SECONDS)
        await asyncio.to_thread(writer.sync)  # a volume may be slow, and a bucket is


async def judge_in_process(queue: JudgeQueue, context: StageContext) -> None:
    """Judge batch by batch in this process. A classifier is loaded once there is a task."""
    judge: Judge | None = None
    async for chunk in queue.chunks():
        if judge is None:
            judge = await asyncio.to_thread(IN_PROCESS[queue.judge.type], queue.judge, context)
        for start in range(0, len(chunk), BATCH):
            batch = chunk[start : start + BATCH]
            for task, verdict in zip(batch, await _judge_batch(judge, batch), strict=True):
                queue.keep(task, verdict)


async def _judge_batch(judge: Judge, batch: Sequence[JudgeTask]) -> list[Verdict]:
    """Verdicts in the order of the batch."""
    given = [unjudgeable(task.row) for task in batch]
    rows = [task.row for task, verdict in zip(batch, given, strict=True) if verdict is None]
    pairs = [Pair(row.prompt, row.answer, row.context) for row in rows]
    found = iter(await asyncio.to_thread(judge.judge, pairs) if pairs else [])
    return [verdict if verdict is not None else next(found) for verdict in given]
