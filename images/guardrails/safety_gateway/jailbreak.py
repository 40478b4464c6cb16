"""Attempts to talk the model out of its rules, recognized by a NemoGuard JailbreakDetect server.

NeMo Guardrails' own rail reads the last message only, and lets everything pass while the server is down. Here
each text that is not the assistant's is asked for once, and remembered by its digest where it passed, so that
a conversation that grows costs one question a turn.
"""

import asyncio
import hashlib
from collections import OrderedDict
from http import HTTPStatus

import aiohttp

from safety_gateway.errors import BadRequestError, UnavailableError
from safety_gateway.model_answers import read_seconds
from safety_gateway.rails import Message, Verdict
from safety_gateway.settings import JailbreakServer

RAIL = "jailbreak detection model"
"""Name of the rail, as the library calls it."""
AT_ONCE = 8
"""Questions of one request at a time."""
MAX_REMEMBERED = 8192
"""Digests of texts that passed: about a megabyte."""
CONNECT_SECONDS = 5
NO_VERDICT = "the jailbreak detector gives no verdict"


class JailbreakRail:
    """One of the :class:`~safety_gateway.rails.Rails`; it reads requests only."""

    def __init__(self, server: JailbreakServer, key: str | None) -> None:
        self._url = f"{server.url}/classify"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout = aiohttp.ClientTimeout(total=server.timeout_seconds, connect=CONNECT_SECONDS)
        self._passed: OrderedDict[bytes, None] = OrderedDict()
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the session."""
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout)

    async def stop(self) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()

    async def check_output(self, _messages: list[Message], _answer: str) -> Verdict:
        """Nothing: an answer is no attempt."""
        return Verdict(blocked=False)

    async def check_input(self, messages: list[Message]) -> Verdict:
        """Ask for each text that did not pass before."""
        texts = dict.fromkeys(m["content"] for m in messages if m["role"] != "assistant" and m["content"])
        turns = asyncio.Semaphore(AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._is_attempt(text, turns)) for text in texts]
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return Verdict(any(task.result() for task in tasks), RAIL)

    async def _is_attempt(self, text: str, turns: asyncio.Semaphore) -> bool:
        digest = hashlib.sha256(text.encode()).digest()
        if digest in self._passed:
            self._passed.move_to_end(digest)
            return False
        async with turns:
            found = await self._ask(text)
        if not found:
            self._passed[digest] = None
            if len(self._passed) > MAX_REMEMBERED:
                self._passed.popitem(last=False)
        return found

    async def _ask(self, text: str) -> bool:
        assert self._session is not None
        try:
            sent = self._session.post(self._url, json={"input": text}, allow_redirects=False)
            async with sent as response:
                if response.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                    words = "a text is too long for the jailbreak detector"
                    raise BadRequestError(words, code="context_length_exceeded")
                if response.status != HTTPStatus.OK:
                    wait = read_seconds(response.headers.get("Retry-After", ""))
                    raise UnavailableError(NO_VERDICT, rail=RAIL, retry_after=wait)
                verdict = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise UnavailableError(NO_VERDICT, rail=RAIL) from error
        found = verdict.get("jailbreak") if isinstance(verdict, dict) else None
        if not isinstance(found, bool):
            raise UnavailableError(NO_VERDICT, rail=RAIL)
        return found
