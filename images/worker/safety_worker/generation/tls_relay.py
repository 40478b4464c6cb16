"""A server that shows the certificate of a Secret, for tools of others, which cannot be told to accept it.

They ask a port of this pod's own loopback without TLS; each connection is carried on to the server by TLS. A
connection whose certificate is not accepted is closed without an answer.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlsplit

from safety_records.stage_base import ServedModel
from safety_worker.generation.shown_certificate import ShownCertificate, verify_of

HOST = "127.0.0.1"
PIECE = 65536
"""Bytes that are carried at a time."""
NO_PROXY = ("no_proxy", "NO_PROXY")
"""The first counts where both are there."""


@contextlib.contextmanager
def without_tls(server: ServedModel) -> Iterator[ServedModel]:
    """The server as a tool can ask it; itself where it has no certificate of a Secret."""
    if not server.certificate:
        yield server
        return
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_relay(server, started)), name="tls-relay")
    thread.start()
    loop, ended, port = started.result()
    try:
        url = f"http://{HOST}:{port}{urlsplit(server.base_url).path}"
        yield server.model_copy(update={"base_url": url, "certificate": ""})
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


def asked_directly(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which no proxy is asked for this pod's own loopback."""
    named = next(filter(None, map(environment.get, NO_PROXY)), "")
    return {**environment, **dict.fromkeys(NO_PROXY, f"{named},{HOST}" if named else HOST)}


async def _relay(
    server: ServedModel, started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]]
) -> None:
    parts, trust, ended = urlsplit(server.base_url), verify_of(server), asyncio.Event()
    host, port = parts.hostname or "", parts.port or 443
    assert isinstance(trust, ShownCertificate)

    carried: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            there, back = await asyncio.open_connection(host, port, ssl=trust, server_hostname=host)
            try:
                await _until_one_ends(_copy(reader, back), _copy(there, writer))
            finally:
                back.transport.abort()  # nobody waits for it to say that it closes, too

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(carry(reader, writer))
        carried.add(task)
        task.add_done_callback(carried.discard)

    try:
        listener = await asyncio.start_server(begin, HOST, 0)
        started.set_result((asyncio.get_running_loop(), ended, listener.sockets[0].getsockname()[1]))
    except BaseException as error:
        started.set_exception(error)
        raise
    await ended.wait()
    listener.close()
    for task in tuple(carried):
        task.cancel()
    await asyncio.gather(*carried, return_exceptions=True)
    await asyncio.sleep(0)  # transports let go of their sockets


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()


async def _until_one_ends(*copies: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.ensure_future(copy) for copy in copies]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
