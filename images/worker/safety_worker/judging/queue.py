"""What one judge still has to judge, and where its verdicts go."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from safety_records.eval_stages import JudgeSpec
from safety_records.progress import Progress
from safety_worker.context import StageContext
from safety_worker.generation.shards import ShardWriter
from safety_worker.judging.base import Expect, passes
from safety_worker.rows import GeneratedRow, Verdict, VerdictRow


class JudgeTask(NamedTuple):
    """One verdict that is wanted."""

    row: GeneratedRow
    expect: Expect

    def verdict_key(self, judge: str) -> str:
        """Key of the row that holds the verdict: another answer needs another one."""
        return f"{self.row.key}/{judge}/{self.row.answer_digest}"


TaskChunks = AsyncIterator[list[JudgeTask]]
"""Tasks in chunks as they come; ends when there will be no more."""


class JudgeQueue:
    """The tasks of one judge.

    Parameters
    ----------
    judge
        The judge.
    source
        All its tasks, also those that are done.
    writer
        Takes its verdicts, and holds those of an earlier try.
    context
        The stage's surroundings.
    """

    def __init__(
        self, judge: JudgeSpec, source: TaskChunks, writer: ShardWriter[VerdictRow], context: StageContext
    ) -> None:
        self.judge = judge
        self._source = source
        self._writer = writer
        self._report = context.report_progress

    async def chunks(self) -> TaskChunks:
        """Tasks without a verdict, in chunks as they come."""
        async for tasks in self._source:
            finished = self._writer.finished
            chunk = [task for task in tasks if task.verdict_key(self.judge.name) not in finished]
            if chunk:
                yield chunk

    async def tasks(self) -> AsyncIterator[JudgeTask]:
        """Tasks without a verdict, one by one."""
        async for chunk in self.chunks():
            for task in chunk:
                yield task

    def keep(self, task: JudgeTask, verdict: Verdict) -> None:
        """Keep the verdict on a task."""
        self._writer.append(
            VerdictRow(
                suite=task.row.suite,
                digest=task.row.digest,
                candidate=task.row.candidate,
                judge=self.judge.name,
                passed=passes(verdict, task.expect),
                answer_digest=task.row.answer_digest,
                **dict(verdict),
            )
        )
        self.report(f"judge {self.judge.name}")

    def report(self, message: str) -> None:
        """Report progress with a few words. How much there will be is not known before generation ends."""
        done = len(self._writer.finished)
        text = f"{message[:150]} ({done} verdicts)"
        self._report(Progress(stage="judge", done=done, total=0, message=text))
