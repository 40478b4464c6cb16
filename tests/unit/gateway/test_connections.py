"""Connections of clients, over real sockets: those that ask nothing, that ask slowly, that do not read."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from tests.unit.gateway.support import Gateway, user

from safety_gateway import connections
from safety_gateway.__main__ import listen
from safety_gateway.connections import Connections, KnowsConnection, allow_files, connections_of

SOON = 0.05
LATE = 60.0
BODY = json.dumps({"model": "assistant", "messages": [user("hi")]}).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n" % len(BODY)
REQUEST = HEAD + b"\r\n" + BODY
UPGRADE = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
)


class Client:
    """A connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, data: bytes = REQUEST) -> bytes:
        """The status line and the body of the answer."""
        self.writer.write(data)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        return head.split(b"\r\n")[0] + await self.reader.readexactly(int(length.split(b":")[1]))

    async def closed(self) -> bool:
        """Once the gateway has closed it without a word."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


class Served:
    """A server of an application."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._clients: list[Client] = []

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client

    async def leave(self) -> None:
        for client in self._clients:
            client.writer.close()
            with suppress(ConnectionError):
                await client.writer.wait_closed()


@asynccontextmanager
async def serving(app: uvicorn._types.ASGIApplication, known: Connections) -> AsyncIterator[Served]:
    listener = listen(0)
    config = uvicorn.Config(
        app,
        http=connections_of(known),
        ws="none",
        log_config=None,
        timeout_keep_alive=3600,
        timeout_graceful_shutdown=0,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    served = Served(listener.getsockname()[1])
    try:
        yield served
    finally:
        await served.leave()
        server.should_exit = True
        await running


async def test_a_connection_that_asks_nothing_or_half_of_something_is_closed():
    async with serving(Gateway().app, Connections(head_seconds=SOON)) as served:
        silent, slow = await served.connect(), await served.connect()
        slow.writer.write(HEAD)
        assert await silent.closed()
        assert await slow.closed()


async def test_a_head_that_comes_slowly_behind_an_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "KEEP_ALIVE_SECONDS", SOON - LATE)
    async with serving(Gateway().app, Connections(head_seconds=LATE)) as served:
        client = await served.connect()
        assert b"200 OK" in await client.ask()
        client.writer.write(HEAD)
        assert await client.closed()


async def test_an_answer_may_take_longer_than_a_head():
    gateway = Gateway()
    gateway.model.may_answer.clear()
    async with serving(gateway.app, Connections(head_seconds=SOON)) as served:
        asking = await served.connect()
        answer = asyncio.create_task(asking.ask())
        await gateway.model.arrived.wait()
        assert await (await served.connect()).closed(), "the time for a head has passed"
        gateway.model.may_answer.set()
        assert b"200 OK" in await answer


async def test_where_there_are_too_many_the_oldest_that_never_asked_goes_first():
    known = Connections(bound=3, head_seconds=LATE)
    async with serving(Gateway().app, known) as served:
        user_, oldest, newer = [await served.connect() for _ in range(3)]
        assert b"200 OK" in await user_.ask()
        newest = await served.connect()
        assert await oldest.closed()
        for kept in (user_, newer, newest):
            assert b"200 OK" in await kept.ask()


async def test_where_all_have_asked_the_one_that_waits_longest_goes():
    known = Connections(bound=2, head_seconds=LATE)
    async with serving(Gateway().app, known) as served:
        first, second = await served.connect(), await served.connect()
        for client in (first, second, first):
            assert b"200 OK" in await client.ask()
        newest = await served.connect()
        assert await second.closed()
        assert b"200 OK" in await newest.ask()
        assert b"200 OK" in await first.ask()


async def test_a_connection_that_is_worked_for_is_never_closed_for_others():
    gateway = Gateway()
    gateway.model.may_answer.clear()
    async with serving(gateway.app, Connections(bound=1, head_seconds=LATE)) as served:
        asking = await served.connect()
        answer = asyncio.create_task(asking.ask())
        await gateway.model.arrived.wait()
        for _ in range(3):
            assert await (await served.connect()).closed()
        gateway.model.may_answer.set()
        assert b"200 OK" in await answer


async def test_a_client_that_does_not_read_its_answer_is_given_up():
    given_up = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        finally:
            given_up.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await KnowsConnection(endless, send_seconds=SOON)(scope, receive, send)

    async with serving(app, Connections()) as served, asyncio.timeout(20):
        client = await served.connect()
        client.writer.write(REQUEST)
        await given_up.wait()


async def test_a_request_that_offers_another_protocol_is_answered_in_this_one():
    """Java's own client offers HTTP/2 with its first request, and sends the body with it."""
    async with serving(Gateway().app, Connections()) as served:
        client = await served.connect()
        assert b"Paris." in await client.ask(HEAD + UPGRADE + b"\r\n" + BODY)
        assert b"Paris." in await client.ask()


@pytest.mark.parametrize(
    ("soft", "hard", "allowed", "bound"),
    [
        (1024, 524_288, 65_536, 8192),
        (1024, 4096, 4096, 3072),
        (1024, 1024, None, 64),
        (1_048_576, 1_048_576, None, 8192),
        (1024, resource.RLIM_INFINITY, 65_536, 8192),
    ],
)
def test_as_many_files_are_opened_as_may_be_and_connections_leave_some(
    soft: int, hard: int, allowed: int | None, bound: int, monkeypatch: pytest.MonkeyPatch
):
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limits: found.append(limits))
    assert allow_files() == bound
    assert found == ([] if allowed is None else [(allowed, hard)])
