import asyncio
from typing import cast

from aiohttp_retry import RetryClient

from safety_gateway.renewed import RENEWED_SECONDS, RenewedClients


class Opened:
    def __init__(self) -> None:
        self.closed = False
        self.closing, self.may_close = asyncio.Event(), asyncio.Event()
        self.may_close.set()

    async def close(self) -> None:
        self.closing.set()
        await self.may_close.wait()
        self.closed = True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[RenewedClients, list[Opened], Clock]:
    opened: list[Opened] = []
    clock = Clock()

    def connect() -> RetryClient:
        opened.append(Opened())
        return cast("RetryClient", opened[-1])

    return RenewedClients(connect, clock), opened, clock


async def test_requests_of_a_short_time_share_their_connections():
    connections, opened, clock = make()
    for _ in range(3):
        async with connections.client():
            clock.now += RENEWED_SECONDS / 4
    assert len(opened) == 1
    assert not opened[0].closed


async def test_a_later_request_has_new_connections_and_the_old_ones_close_with_their_last_request():
    connections, opened, clock = make()
    async with connections.client(), connections.client():
        clock.now += RENEWED_SECONDS
        async with connections.client():
            assert [item.closed for item in opened] == [False, False]
    assert [item.closed for item in opened] == [True, False]


async def test_connections_that_nobody_uses_close_when_new_ones_are_opened():
    connections, opened, clock = make()
    async with connections.client():
        pass
    clock.now += RENEWED_SECONDS
    async with connections.client():
        assert opened[0].closed


async def test_a_request_that_waits_for_old_connections_to_close_keeps_its_new_ones():
    connections, opened, clock = make()
    async with connections.client():
        pass
    clock.now += RENEWED_SECONDS
    opened[0].may_close.clear()
    waiting = asyncio.create_task(hold(connections))
    await opened[0].closing.wait()
    clock.now += RENEWED_SECONDS
    async with connections.client():
        opened[0].may_close.set()
        assert not await waiting, "closed before its request"


async def hold(connections: RenewedClients) -> bool:
    """Whether the connections of a request are closed while it has them."""
    async with connections.client() as client:
        return cast("Opened", client).closed


async def test_all_are_closed_in_the_end():
    connections, opened, _ = make()
    async with connections.client():
        pass
    await connections.close()
    assert opened[0].closed
