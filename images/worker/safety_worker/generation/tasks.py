"""Concurrent work of a stage: a loop with a plain error at its end, and slots that fill themselves.

Used by everything that asks a model server.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import TypeVar

T = TypeVar("T")


def run_tasks(main: Coroutine[None, None, T]) -> T:
    """Run a coroutine to its end.

    Raises
    ------
    Exception
        Of several errors of its tasks the first, by itself: what a stage says of a full volume or of a dead
        server must not drown in a group.
    """
    try:
        return asyncio.run(main)
    except BaseExceptionGroup as group:
        raise first_error(group) from None


def first_error(group: BaseException) -> BaseException:
    """The first error of a group of tasks, however deep: it stands for all."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


async def run_in_slots(items: AsyncIterator[T], work: Callable[[T], Awaitable[None]], slots: int) -> None:
    """Work on items as they come, at most ``slots`` at a time.

    An item is taken when a slot is free and not before: there is no queue that could run full, and a kill
    loses at most one item in flight per slot. The first error ends everything.
    """
    taking = asyncio.Lock()

    async def fill_slot() -> None:
        while True:
            async with taking:
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(slots):
            group.create_task(fill_slot())


async def run_with_background(background: Coroutine[None, None, None], main: Awaitable[None]) -> None:
    """Do something to its end while something else goes on; an error of either ends both."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(background)
        await main
        task.cancel()
