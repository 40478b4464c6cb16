"""The keyed queue."""

import asyncio

import pytest

from safety_operator.handlers.queue import (
    BURST_KEYS,
    BURST_SECONDS,
    FIRST_BACKOFF_SECONDS,
    LONGEST_BACKOFF_SECONDS,
    KeyedQueue,
)
from safety_operator.state.keys import Key


def key(name: str) -> Key:
    return Key("SafetyEval", "team", name)


async def take(queue: KeyedQueue, count: int) -> list[str]:
    return [(await queue.get()).name for _ in range(count)]


async def test_a_key_waits_once_however_often_it_comes():
    queue = KeyedQueue()
    for _ in range(3):
        queue.add(key("a"))
    assert len(queue) == 1
    assert await take(queue, 1) == ["a"]


async def test_a_key_being_worked_on_comes_after():
    queue = KeyedQueue()
    queue.add(key("a"))
    taken = await queue.get()
    queue.add(key("a"))
    queue.add(key("a"))
    assert len(queue) == 0
    queue.done(taken)
    assert len(queue) == 1


async def test_what_was_never_looked_at_goes_first():
    queue = KeyedQueue()
    queue.add(key("old"))
    queue.add(key("new"), urgent=True)
    assert queue.has_urgent
    assert await take(queue, 2) == ["new", "old"]
    assert not queue.has_urgent


async def test_a_waiting_worker_is_woken():
    queue = KeyedQueue()
    getter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(key("a"))
    assert await asyncio.wait_for(getter, 1) == key("a")


async def test_a_cancelled_worker_takes_no_key_with_it():
    queue = KeyedQueue()
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(key("a"))
    first.cancel()
    assert await asyncio.wait_for(second, 1) == key("a")


async def test_the_earliest_of_several_times_counts():
    queue = KeyedQueue()
    queue.add_after(key("a"), 60)
    queue.add_after(key("a"), 0.01)
    queue.add_after(key("a"), 30)
    assert await asyncio.wait_for(queue.get(), 1) == key("a")
    assert len(queue) == 0


async def test_a_forgotten_key_does_not_come_back():
    queue = KeyedQueue()
    queue.add_after(key("a"), 0.01)
    queue.forget(key("a"))
    await asyncio.sleep(0.03)
    assert len(queue) == 0


async def test_back_off_doubles_for_its_key_up_to_a_limit_and_ends_with_success():
    queue = KeyedQueue()
    pauses = [queue.add_failed(key("a")) for _ in range(20)]
    assert FIRST_BACKOFF_SECONDS * 0.75 <= pauses[0] <= FIRST_BACKOFF_SECONDS * 1.25
    assert pauses[4] > pauses[0] * 8
    assert max(pauses) <= LONGEST_BACKOFF_SECONDS * 1.25
    assert queue.add_failed(key("b")) <= FIRST_BACKOFF_SECONDS * 1.25
    queue.succeeded(key("a"))
    assert queue.add_failed(key("a")) <= FIRST_BACKOFF_SECONDS * 1.25


@pytest.mark.parametrize("workers", [1, 4])
async def test_no_key_is_worked_on_twice_at_a_time_and_none_is_lost(workers):
    queue = KeyedQueue()
    active: set[Key] = set()
    seen: list[Key] = []

    async def work() -> None:
        while True:
            taken = await queue.get()
            assert taken not in active
            active.add(taken)
            await asyncio.sleep(0.001)
            active.discard(taken)
            seen.append(taken)
            queue.done(taken)

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    for turn in range(5):
        for name in "abc":
            queue.add(key(name), urgent=bool(turn % 2))
        await asyncio.sleep(0.002)
    await asyncio.sleep(0.1)
    assert len(queue) == 0
    assert {k.name for k in seen} == set("abc")
    for task in tasks:
        task.cancel()
    assert all(
        isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*tasks, return_exceptions=True)
    )


async def test_a_burst_lasts_a_moment_longer_than_its_line():
    queue = KeyedQueue()
    for index in range(BURST_KEYS):
        queue.add(key(f"n{index}"), urgent=True)
    await take(queue, BURST_KEYS)
    assert queue.has_urgent
    await asyncio.sleep(BURST_SECONDS + 0.05)
    assert not queue.has_urgent
