"""Where orders for verdicts are carried out: all judges at the same time, verdicts on disk as they come.

Judges that are models on servers are asked by many requests at a time; those of this process get batches, in
a thread, so that nobody waits for them. Each judge takes its orders as it gets on: a slow one keeps no other
waiting. Used by the judge stage.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from safety_records.progress import Progress
from safety_records.stages import JudgeSpec
from safety_worker.context import StageContext
from safety_worker.generation.client import Patience
from safety_worker.generation.shards import FSYNC_SECONDS, ShardWriter
from safety_worker.generation.tasks import run_tasks, run_with_background
from safety_worker.judging.base import Expect, Judge, Pair, passes, unjudgeable
from safety_worker.judging.registry import IN_PROCESS
from safety_worker.judging.served import Asked, judge_served
from safety_worker.rows import GeneratedRow, Verdict, VerdictRow

BATCH = 64
"""Answers given to a judge at a time: classifiers on CPU gain nothing from more."""


class Order(NamedTuple):
    """One verdict that is wanted."""

    row: GeneratedRow
    expect: Expect

    def verdict_key(self, judge: str) -> str:
        """Key of the verdict that carries it out."""
        return f"{self.row.key}/{judge}/{self.row.answer_digest}"


Source = AsyncIterator[list[Order]]
"""Orders in chunks as they come; ends when there will be no more."""


class Desk:
    """Judges orders of one output folder.

    Parameters
    ----------
    context
        The stage's surroundings.
    out
        Output folder.
    concurrency
        Requests at a time to each judge that is served.
    patience
        How long to wait for what.
    """

    def __init__(self, context: StageContext, out: str, concurrency: int, patience: Patience) -> None:
        self._context = context
        self._out = out
        self._concurrency = concurrency
        self._patience = patience

    def judge(self, prefix: str, work: Sequence[tuple[JudgeSpec, Source]]) -> ShardWriter[VerdictRow]:
        """Carry out all orders of several judges; those of an earlier try are not repeated.

        Gives back the closed writer of ``<prefix>-*.jsonl``: verdicts become shards when it consolidates.

        Raises
        ------
        WorkerError
            As judges, clients and sources do; the first one ends all. Verdicts that were given stay.
        """
        writer = ShardWriter(self._context.store, self._out, prefix, VerdictRow)
        try:
            run_tasks(self._judge_all(work, writer))
        finally:
            writer.close()
        done = len(writer.finished)
        self._context.report_progress(Progress(stage="judge", done=done, total=done, message="judged"))
        return writer

    async def _judge_all(
        self, work: Sequence[tuple[JudgeSpec, Source]], writer: ShardWriter[VerdictRow]
    ) -> None:
        async def judge_each() -> None:
            async with asyncio.TaskGroup() as group:
                for spec, source in work:
                    group.create_task(self._judge_one(_Pile(spec, source, writer, self._context)))

        await run_with_background(_keep(writer), judge_each())

    async def _judge_one(self, pile: "_Pile") -> None:
        spec = pile.spec
        if spec.type in IN_PROCESS:
            await judge_here(pile, self._context)
            return
        assert spec.served is not None
        key = self._context.secret(spec.served.api_key_env)
        asked = Asked(spec, key, pile.rows(), pile.store)
        await judge_served(asked, self._concurrency, pile.say, self._patience)


class _Pile:
    """The orders of one judge, and where its verdicts go."""

    def __init__(
        self, spec: JudgeSpec, source: Source, writer: ShardWriter[VerdictRow], context: StageContext
    ) -> None:
        self.spec = spec
        self._source = source
        self._writer = writer
        self._report = context.report_progress
        self._expects: dict[str, Expect] = {}
        """By suite."""

    async def chunks(self) -> Source:
        """Orders without a verdict."""
        async for orders in self._source:
            finished = self._writer.finished
            chunk = [order for order in orders if order.verdict_key(self.spec.name) not in finished]
            if chunk:
                yield chunk

    async def rows(self) -> AsyncIterator[GeneratedRow]:
        """The rows of orders without a verdict."""
        async for chunk in self.chunks():
            for order in chunk:
                self._expects[order.row.suite] = order.expect
                yield order.row

    def store(self, row: GeneratedRow, verdict: Verdict) -> None:
        """Keep the verdict on one of ``rows``."""
        self.keep(Order(row, self._expects[row.suite]), verdict)

    def keep(self, order: Order, verdict: Verdict) -> None:
        """Keep the verdict on one of ``chunks``."""
        self._writer.append(to_row(order, self.spec.name, verdict))
        self.say(f"judge {self.spec.name}")

    def say(self, message: str) -> None:
        """Report progress with a few words. How much there will be is not known before generation ends."""
        done = len(self._writer.finished)
        text = f"{message[:150]} ({done} verdicts)"
        self._report(Progress(stage="judge", done=done, total=0, message=text))


async def _keep(writer: ShardWriter[VerdictRow]) -> None:
    """Bring verdicts to the disk every second."""
    while True:
        await asyncio.sleep(FSYNC_SECONDS)
        await asyncio.to_thread(writer.sync)  # a volume may be slow, and a bucket is


async def judge_here(pile: _Pile, context: StageContext) -> None:
    """Judge rows batch by batch in this process. A classifier is loaded once there is a row."""
    judge: Judge | None = None
    async for chunk in pile.chunks():
        if judge is None:
            judge = await asyncio.to_thread(IN_PROCESS[pile.spec.type], pile.spec, context)
        for start in range(0, len(chunk), BATCH):
            batch = chunk[start : start + BATCH]
            for order, verdict in zip(batch, await _judge_batch(judge, batch), strict=True):
                pile.keep(order, verdict)


async def _judge_batch(judge: Judge, batch: Sequence[Order]) -> list[Verdict]:
    """Verdicts in the order of the batch."""
    given = [unjudgeable(order.row) for order in batch]
    rows = [order.row for order, verdict in zip(batch, given, strict=True) if verdict is None]
    pairs = [Pair(row.prompt, row.answer, row.context) for row in rows]
    found = iter(await asyncio.to_thread(judge.judge, pairs) if pairs else [])
    return [verdict if verdict is not None else next(found) for verdict in given]


def to_row(order: Order, judge: str, verdict: Verdict) -> VerdictRow:
    """A verdict as a row."""
    return VerdictRow(
        suite=order.row.suite,
        digest=order.row.digest,
        candidate=order.row.candidate,
        judge=judge,
        passed=passes(verdict, order.expect),
        answer_digest=order.row.answer_digest,
        **dict(verdict),
    )
