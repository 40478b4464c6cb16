"""Probes and metrics over HTTP."""

import socket
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from tests.unit.cluster.objects import KEY, make_resource

from safety_operator.errors import SettingsError
from safety_operator.handlers.health import HealthServer

Heard = dict[str, float]


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, Heard]]:
    """The server's address, and when its watches were last heard of."""
    heard = {"jobs/*": time.monotonic(), "lease": time.monotonic()}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    health = HealthServer(lambda: heard, 300, {KEY: make_resource(status={"state": "Running"})})
    await health.start("127.0.0.1", port)
    yield f"http://127.0.0.1:{port}", heard
    await health.stop()


async def ask(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_a_port_that_is_taken_is_a_wrong_setting(server):
    url, _ = server
    second = HealthServer(dict, 300, {})
    with pytest.raises(SettingsError, match="SAFETY_HTTP_PORT"):
        await second.start("127.0.0.1", int(url.rpartition(":")[2]))
    await second.stop()


async def test_it_is_alive_while_every_watch_was_heard_of_lately(server):
    url, heard = server
    assert await ask(f"{url}/healthz") == (200, "ok\n")
    heard["jobs/*"] -= 301
    assert await ask(f"{url}/healthz") == (503, "nothing heard of jobs/* for 301 s\n")
    assert await ask(f"{url}/readyz") == (200, "ok\n"), "it is no reason to take it out of its Service"


async def test_metrics_tell_how_long_each_watch_is_silent_and_what_statuses_say(server):
    url, heard = server
    heard["lease"] -= 40
    status, text = await ask(f"{url}/metrics")
    assert status == 200
    (line,) = [
        line for line in text.splitlines() if line.startswith('safety_watch_silence_seconds{watch="lease"}')
    ]
    assert 40 <= float(line.split()[1]) < 300
    assert 'safety_resources{kind="SafetyEval",state="Running"} 1.0' in text
