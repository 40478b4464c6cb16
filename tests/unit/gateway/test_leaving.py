"""SIGTERM: while the process loads, while it serves, and a second time."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from safety_gateway import __main__ as main
from safety_gateway.leaving import Server

NEVER = 3600.0


@pytest.fixture(autouse=True)
def told() -> Iterator[list[int]]:
    """Signals that uvicorn hands on at its end, which would end the tests."""
    found: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: found.append(number))
    yield found
    signal.signal(signal.SIGTERM, before)


@asynccontextmanager
async def serving(notice_seconds: float) -> AsyncIterator[tuple[str, "asyncio.Task[None]"]]:
    """An address, and the server there, which is to end within seconds."""
    configure = partial(main.configure_server, certificate=None, grace_seconds=1)
    listener = main.listen(0)
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("pass", headers={"Connection": "x"}))])
    running = asyncio.create_task(Server(app, configure, notice_seconds).serve(sockets=[listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", running
    async with asyncio.timeout(20):
        await running


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def test_after_the_first_signal_answers_go_on_and_close_their_connections_and_a_second_one_ends_it():
    async with serving(NEVER) as (url, running), httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(url)).headers["connection"] == "x"
        terminate()
        for _ in range(2):
            answer = await client.get(url)
            assert (answer.text, answer.headers.get_list("connection")) == ("pass", ["close"])
        assert not running.done()
        terminate()


async def test_it_ends_when_the_time_of_notice_is_over_whatever_connections_idle():
    async with serving(0.1) as (url, _), httpx.AsyncClient(trust_env=False) as idle:
        await idle.get(url)
        terminate()


async def test_without_notice_the_first_signal_ends_it(told: list[int]):
    async with serving(0) as (url, _), httpx.AsyncClient(trust_env=False) as client:
        await client.get(url)
        terminate()
    assert told == [signal.SIGTERM]


def test_a_process_that_still_loads_ends_at_once(monkeypatch: pytest.MonkeyPatch):
    """As the first process of its pod, which ends by no signal that it has no handler for."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    with pytest.raises(SystemExit):
        main.main([])
    terminate()
    assert codes == [143]
