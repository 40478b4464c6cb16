"""Conflicts that do not end with a fresh look are said."""

import asyncio
import logging

import pytest
from tests.unit.cluster.objects import KEY

from safety_operator.errors import ConflictError
from safety_operator.handlers.queue import KeyedQueue
from safety_operator.handlers.reconcile import _judge


async def test_a_conflict_is_everyday_life_until_it_stays(caplog: pytest.LogCaptureFixture):
    queue = KeyedQueue()

    async def fail() -> str:
        raise ConflictError(409, "Conflict", "somebody was faster")

    caplog.set_level(logging.WARNING)
    warned = []
    for _ in range(6):
        task = asyncio.create_task(fail())
        await asyncio.wait({task})
        assert _judge(KEY, task, queue) == "infrastructure"
        warned.append(len(caplog.records))
    queue.forget(KEY)
    assert warned[:2] == [0, 0]
    assert warned[-1] >= 1
