"""Judges that are models on a server: many questions at a time, verdicts as they come.

An output that cannot be read is asked for once more and then stands as unparsed, which counts against the
model under test. A server that fails is waited for as in generation; if it stays away the stage fails and
tries again later, and nothing is judged on its behalf.
"""

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from safety_records.sampling import Sampling
from safety_records.stages import JudgeSpec
from safety_worker.generation.client import CHAT, RAW, ChatClient, Patience, PromptRefusedError
from safety_worker.generation.completion import WITHHELD, Completion
from safety_worker.generation.tasks import run_in_slots
from safety_worker.judging.base import Pair, unjudgeable
from safety_worker.judging.formats.base import MAX_OUTPUT, Format, Question
from safety_worker.judging.registry import FORMATS
from safety_worker.rows import GeneratedRow, Verdict

TRIES = 2
"""How often a judge is asked for a verdict that can be read."""

Store = Callable[[GeneratedRow, Verdict], None]
Say = Callable[[str], None]


class Asked(NamedTuple):
    """A judge, where it is, and what it is to judge."""

    spec: JudgeSpec
    api_key: str
    rows: AsyncIterator[GeneratedRow]
    """As they come."""
    store: Store
    """Takes each verdict as it comes."""


async def judge_served(item: Asked, concurrency: int, say: Say, patience: Patience) -> None:
    """Judge all rows of one judge.

    Parameters
    ----------
    item
        The judge with its rows. Its server is waited for once there is a row.
    concurrency
        Requests at a time.
    say
        Takes words on the progress.
    patience
        How long to wait for what.

    Raises
    ------
    WorkerError
        As the client does. Stored verdicts stay.
    """
    spec = item.spec
    assert spec.served is not None
    judge = FORMATS[spec.type](spec)
    first = await anext(item.rows, None)
    if first is None:
        return
    route = RAW if judge.ask(Pair("", "")).prompt else CHAT
    async with ChatClient(spec.served, item.api_key, concurrency, patience) as client:
        say(f"waiting for judge {spec.name}")
        await client.wait_ready(lambda text: say(f"judge {spec.name}: {text}"), route)

        async def work(row: GeneratedRow) -> None:
            verdict = unjudgeable(row)
            item.store(row, await _verdict(row, judge, client) if verdict is None else verdict)

        await run_in_slots(_behind(first, item.rows), work, concurrency)


async def _behind(first: GeneratedRow, rows: AsyncIterator[GeneratedRow]) -> AsyncIterator[GeneratedRow]:
    yield first
    async for row in rows:
        yield row


async def _verdict(row: GeneratedRow, judge: Format, client: ChatClient) -> Verdict:
    """A judge's verdict on one row; unparsed if it gives none."""
    question = judge.ask(Pair(row.prompt, row.answer, row.context))
    sampling = Sampling(temperature=0.0, max_tokens=judge.max_tokens)
    for _ in range(TRIES):
        try:
            completion = await _ask(client, question, sampling)
        except PromptRefusedError as error:
            return Verdict(safe=None, unparsed=True, detail=f"judge answers {error}")
        verdict = judge.read(completion.text[:MAX_OUTPUT])
        if verdict is not None:
            return verdict
    return Verdict(safe=None, unparsed=True, detail=_unreadable(completion))


def _unreadable(completion: Completion) -> str:
    """What is wrong with an output without a verdict."""
    if completion.finish_reason == "length":
        return "output cut off"
    if completion.text.strip():
        return "output not readable"
    if completion.finish_reason.startswith(WITHHELD):
        return "output withheld by a content filter"
    return "reasoning without an output" if completion.reasoning else "no output"


async def _ask(client: ChatClient, question: Question, sampling: Sampling) -> Completion:
    if question.prompt:
        return await client.complete_text(question.prompt, sampling, seed=0)
    return await client.complete([message.model_dump() for message in question.messages], sampling, seed=0)
