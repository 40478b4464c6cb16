import asyncio

import pytest

from safety_gateway.all_rails import AllRails
from safety_gateway.errors import GatewayError, UnavailableError
from safety_gateway.rails import Message, Verdict

LEAVE, BLOCK = Verdict(blocked=False), Verdict(blocked=True, rail="second")


class One:
    """Gives what a test says, or waits for ever."""

    def __init__(self, result: Verdict | GatewayError | None) -> None:
        self._result = result
        self.left = False
        self.open = 0

    async def start(self) -> None:
        self.open += 1

    async def stop(self) -> None:
        self.open -= 1

    async def check_input(self, _messages: list[Message]) -> Verdict:
        return await self._check()

    async def check_output(self, _messages: list[Message], _answer: str) -> Verdict:
        return await self._check()

    async def _check(self) -> Verdict:
        if isinstance(self._result, GatewayError):
            raise self._result
        if self._result is None:
            try:
                await asyncio.Event().wait()
            finally:
                self.left = True
        assert self._result is not None
        return self._result


async def test_the_first_block_decides_and_the_others_are_left():
    slow = One(None)
    rails = AllRails([slow, One(BLOCK)])
    assert await rails.check_input([]) == BLOCK
    assert slow.left
    assert await rails.check_output([], "x") == BLOCK


async def test_all_have_to_give_leave():
    assert await AllRails([One(LEAVE), One(LEAVE)]).check_input([]) == LEAVE
    with pytest.raises(UnavailableError):
        await AllRails([One(UnavailableError("no verdict")), One(LEAVE)]).check_input([])


async def test_a_block_counts_more_than_a_rail_that_failed():
    assert await AllRails([One(UnavailableError("no verdict")), One(BLOCK)]).check_input([]) == BLOCK


async def test_all_are_opened_and_closed():
    parts = [One(LEAVE), One(LEAVE)]
    rails = AllRails(parts)
    await rails.start()
    assert [part.open for part in parts] == [1, 1]
    await rails.stop()
    assert [part.open for part in parts] == [0, 0]
