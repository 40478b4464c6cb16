"""The gateway as a process: clients that leave, and an end while a guard hangs."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from tests.worker_models.guardrails.gateway_process import (
    free_port,
    gateway_command,
    gateway_environment,
    make_config,
    write_config,
)

from safety_records.audit import read_chains

BODY = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}]}
SAFE = (
    b'{"choices":[{"message":{"content":"{\\"User Safety\\":\\"safe\\",\\"Response Safety\\":\\"safe\\"}"}}]}'
)

UNSAFE = SAFE.replace(b'User Safety\\":\\"safe', b'User Safety\\":\\"unsafe')


class Upstream:
    """Model and guard at once: the guard answers, or hangs; the model always hangs."""

    def __init__(self, *, guard_hangs: bool = False, verdict: bytes = SAFE) -> None:
        self._guard_hangs = guard_hangs
        self._verdict = verdict
        self.waiting = 0
        self.changed = asyncio.Condition()
        self.connections: set[asyncio.Task[None] | None] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            body = await reader.readexactly(int(size.split(b":")[1]))
            if b"content-safety" in body and not self._guard_hangs:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n%s" % (len(self._verdict), self._verdict))
            else:
                await self._count(1)
                await reader.read()
                await self._count(-1)

    async def _count(self, step: int) -> None:
        async with self.changed:
            self.waiting += step
            self.changed.notify_all()

    async def wait_for(self, number: int) -> None:
        """Until so many requests hang here."""
        async with self.changed, asyncio.timeout(120):
            await self.changed.wait_for(lambda: self.waiting == number)


@asynccontextmanager
async def gateway(
    upstream: Upstream, folder: Path, *options: str
) -> AsyncIterator[tuple[str, "subprocess.Popen[bytes]"]]:
    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    write_config(make_config(url, url), folder)
    port = free_port()
    process = subprocess.Popen(  # noqa: ASYNC220 - it runs at the same time
        gateway_command(folder, port, "--grace-seconds", "1", *options),
        env=gateway_environment(HTTP_PROXY="http://127.0.0.1:9"),
    )
    try:
        await until_ready(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()
        server.close()
        await asyncio.gather(*filter(None, upstream.connections))


async def until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        while process.poll() is None:
            try:
                if (await client.get(f"{url}/v1/health/ready")).is_success:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.1)
    pytest.fail("the gateway ended")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("guard_hangs", [False, True])
async def test_clients_that_leave_end_the_work_at_model_and_guard(tmp_path, stream, guard_hangs):
    upstream = Upstream(guard_hangs=guard_hangs)
    async with gateway(upstream, tmp_path) as (url, _), httpx.AsyncClient(trust_env=False) as client:
        asking = [
            asyncio.create_task(
                client.post(f"{url}/v1/chat/completions", json=BODY | {"stream": stream}, timeout=None)
            )
            for _ in range(50)
        ]
        await upstream.wait_for(50)
        for task in asking:
            task.cancel()
        await upstream.wait_for(0)


async def test_a_request_whose_guard_hangs_does_not_keep_the_process(tmp_path):
    upstream = Upstream(guard_hangs=True)
    async with gateway(upstream, tmp_path) as (url, process), httpx.AsyncClient(trust_env=False) as client:
        asking = asyncio.create_task(client.post(f"{url}/v1/chat/completions", json=BODY, timeout=None))
        await upstream.wait_for(1)
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 28)
        closed = await asking
        assert (closed.status_code, closed.json()["error"]["code"]) == (503, "restarting")


async def test_a_process_that_has_nothing_to_answer_ends_without_its_grace_period(tmp_path):
    """Idle connections and a stream whose client is gone are nothing to wait for."""
    upstream = Upstream()
    options = ("--notice-seconds", "1", "--grace-seconds", "3600")
    async with (
        gateway(upstream, tmp_path, *options) as (url, process),
        httpx.AsyncClient(trust_env=False) as idle,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        await idle.get(f"{url}/v1/models")
        asked = client.post(f"{url}/v1/chat/completions", json=BODY | {"stream": True}, timeout=None)
        asking = asyncio.create_task(asked)
        await upstream.wait_for(1)
        asking.cancel()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 120) == 0


async def test_a_process_that_ends_leaves_its_whole_audit_trail_in_a_file(tmp_path):
    trail = tmp_path / "trail"
    trail.mkdir()
    async with (
        gateway(Upstream(verdict=UNSAFE), tmp_path, "--audit", str(trail)) as (url, process),
        httpx.AsyncClient(trust_env=False) as client,
    ):
        for _ in range(20):
            blocked = await client.post(f"{url}/v1/chat/completions", json=BODY, timeout=None)
            assert blocked.json()["choices"][0]["finish_reason"] == "content_filter"
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 28)
    (file,) = trail.iterdir()
    (chain,) = read_chains(file.read_text(encoding="utf-8").splitlines())
    assert (chain.fault, len(chain.entries)) == ("", 20)


async def test_a_process_that_ends_answers_for_a_while_and_asks_clients_to_connect_anew(tmp_path):
    upstream = Upstream(guard_hangs=False)
    async with gateway(upstream, tmp_path, "--notice-seconds", "2") as (url, process):
        async with httpx.AsyncClient(trust_env=False) as client:
            before = await client.get(f"{url}/v1/models")
            process.send_signal(signal.SIGTERM)
            during = await until_closing(client, f"{url}/v1/models")
            assert (before.status_code, during.status_code) == (200, 200)
            assert "connection" not in before.headers
        await asyncio.to_thread(process.wait, 28)


async def until_closing(client: httpx.AsyncClient, url: str) -> httpx.Response:
    while True:
        response = await client.get(url)
        if response.headers.get("connection") == "close":
            return response
