"""Client of one OpenAI-compatible server: asks, retries what may pass, and says why it gave up.

Answers are hostile input: they are cleaned of what no file can hold, and nothing of them gets into messages.
"""

import asyncio
import dataclasses
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self

import httpx

from safety_records.sampling import Sampling
from safety_records.stage_base import ServedModel
from safety_worker.errors import InfrastructureError, WorkerError
from safety_worker.generation.completion import Completion, NoCompletionError, parse_completion
from safety_worker.generation.error_words import (
    Cause,
    ServerError,
    may_pass,
    read_error_in_body,
    read_server_error,
)
from safety_worker.generation.model_list import has, read_names
from safety_worker.generation.replicas import Replica, Replicas, Resolve, resolve
from safety_worker.generation.request_form import RequestForm, key_header
from safety_worker.generation.retries import Retries, RetryPolicy, TryAgainError
from safety_worker.generation.server_errors import FATAL, Refused, refuses_all, some
from safety_worker.generation.shown_certificate import verify_of
from safety_worker.rows import Message
from safety_worker.transport.download import retry_after

log = logging.getLogger(__name__)

OVERLOAD_STATUS = frozenset({408, 425, 429, 503, 529})
"""Answers that say: too much at a time."""

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Longest answer that is read: a server that never ends must not fill the memory."""

GREETING = "Hello"
"""What a server is asked to learn whether it is the prompt that it refuses, or every request."""

GREETING_TOKENS = 16

CHAT, RAW = "/chat/completions", "/completions"
"""Routes of messages and of finished prompts."""


class PromptRefusedError(Exception):
    """The server refuses this prompt for good. The message is the status and a cause, never its text."""


class _RefusedError(Exception):
    """The server refuses a request; whether for its prompt or for everything else is not known yet."""

    def __init__(self, words: ServerError) -> None:
        super().__init__(words.text)
        self.words = words


class ChatClient:
    """Connection pool to one server, with a limit that adapts to what the server can do.

    Parameters
    ----------
    server
        Where it is and what its model is called.
    api_key
        Key; empty: none.
    concurrency
        Connections at most, all replicas together.
    policy
        How long to wait for what.
    resolver
        Finds the addresses of replicas.
    steady
        Whether there are as many requests as connections from the start: for times that are compared.
    """

    def __init__(
        self,
        server: ServedModel,
        api_key: str,
        concurrency: int,
        policy: RetryPolicy,
        resolver: Resolve = resolve,
        *,
        steady: bool = False,
    ) -> None:
        self._server = server
        self._policy = policy
        self._replicas = Replicas(server, concurrency, resolver, steady=steady)
        self._last_success = float("-inf")
        self._form = RequestForm()
        self._greeting_lock = asyncio.Lock()
        self._has_answered = False
        self._listed: list[str] = []
        self._answers_unlisted = False
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        timeout = httpx.Timeout(policy.request_seconds, connect=10.0, pool=None)
        self._http = httpx.AsyncClient(
            base_url=server.base_url.rstrip("/"),
            headers=key_header(api_key),
            limits=limits,
            timeout=timeout,
            verify=verify_of(server),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # one would bind all to one replica
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def wait_ready(self, report: Callable[[str], None], route: str = CHAT) -> None:
        """Wait until the server lists the model, or answers a greeting on the route that will be asked.

        Raises
        ------
        InputError
            If it refuses the key, does not serve the model that is asked for, or has no such route.
        InfrastructureError
            If it does not answer in time.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        delay = min(self._policy.first_delay_seconds, 1.0)
        while True:
            why = await self._probe(route)
            if not why:
                return
            waited = loop.time() - start
            if waited > self._policy.ready_seconds:
                raise InfrastructureError(
                    "ModelServerNotReady",
                    f"{self._server.base_url} was not ready after {waited:.0f} s: {why}",
                )
            report(f"waiting for the model server, {waited:.0f} s: {why}")
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, 5.0)

    async def _probe(self, route: str) -> str:
        """Why the server is not ready; empty if it is. A list that does not help decides nothing."""
        try:
            await self._replicas.refresh()
            self._listed = await self._list()
            return "" if has(self._listed, self._server.model) else await self._greet(route)
        except (OSError, httpx.TransportError, httpx.DecodingError) as error:
            return _name(error)

    async def _list(self) -> list[str]:
        """The models that the server lists; none where it does not answer that at all."""
        try:
            response = await self._http.get("/models", timeout=10.0)
        except (httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.DecodingError):
            return []
        return read_names(response.content) if response.is_success else []

    async def _greet(self, route: str) -> str:
        """As :meth:`_probe`, by asking for an answer. A greeting that is refused for itself is an answer."""
        body = {"model": self._server.model, **_greeting(route), "max_tokens": GREETING_TOKENS}
        response = await self._http.post(route, json=body)
        if response.is_success:
            self._answers_unlisted = bool(self._listed)
            return ""
        words = read_server_error(response.status_code, response.content)
        if may_pass(response.status_code):
            return words.text
        if response.is_redirect or words.cause in FATAL:
            raise self._explain(words, route, response)
        return ""

    @property
    def warning(self) -> str:
        """What is odd about the server; empty: nothing."""
        if not self._answers_unlisted:
            return ""
        return (
            f"{self._server.base_url} answers for {self._server.model!r}, which it does not list "
            f"({some(self._listed)}): check that it is the model that you mean"
        )

    def _explain(self, words: ServerError, route: str, response: httpx.Response | None = None) -> WorkerError:
        """Why it answers nothing. What has answered before may do so again, whatever it says meanwhile."""
        error = refuses_all(Refused(self._server, route, self._listed), words, response)
        return InfrastructureError(error.reason, error.message) if self._has_answered else error

    async def complete(self, asked: str | Sequence[Message], sampling: Sampling, seed: int = 0) -> Completion:
        """One answer. A seed is sent only where sampling is random.

        Parameters
        ----------
        asked
            A conversation; or a raw prompt without any chat template, and without a beginning-of-sequence
            token, which the server's tokenizer adds.
        sampling, seed
            How to sample.

        Raises
        ------
        PromptRefusedError
            If the server will never answer this prompt.
        InputError
            If it refuses every prompt: wrong key, wrong path.
        InfrastructureError
            If it kept failing for longer than ``retry_seconds``.
        """
        route = RAW if isinstance(asked, str) else CHAT
        question = asked if isinstance(asked, str) else [message.model_dump() for message in asked]
        body: dict[str, Any] = {
            "model": self._server.model,
            "prompt" if route == RAW else "messages": question,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        if sampling.temperature > 0:
            body["seed"] = seed
        try:
            completion = await self._adapted(route, body)
        except _RefusedError as refused:
            await self._greet_likewise(route, body, refused.words)
            raise PromptRefusedError(refused.words.text) from refused
        self._has_answered = True
        return completion

    async def _greet_likewise(self, route: str, body: Mapping[str, Any], words: ServerError) -> None:
        """Learn whether a refusal was for the prompt: ask the same with a greeting in its place.

        Raises
        ------
        InputError
            If that is refused as well: whatever is asked would be.
        """
        async with self._greeting_lock:
            if self._has_answered and words.cause not in FATAL:
                return
            try:
                await self._adapted(route, {**body, **_greeting(route)})
            except _RefusedError as refused:
                raise self._explain(refused.words, route) from refused
            self._has_answered = True

    async def _adapted(self, route: str, body: Mapping[str, Any]) -> Completion:
        """Ask as the server wants to be asked, as far as that changes no answer."""
        while True:
            sent = self._form.apply(body)
            try:
                return await self._with_retries(route, sent)
            except _RefusedError as refused:
                if not self._form.learn(refused.words, body, sent):
                    raise
                log.info("asking otherwise: settings=%s", ",".join(refused.words.mentioned))

    async def _with_retries(self, route: str, body: Mapping[str, Any]) -> Completion:
        content = json.dumps(body).encode("ascii")  # escapes whatever a prompt may hold
        retries = Retries(self._policy)
        while True:
            try:
                return await self._try(route, content)
            except TryAgainError as error:
                delay = retries.next_delay(error, self._last_success)
                if delay is None:
                    raise self._given_up(retries, error) from error
                await asyncio.sleep(delay)

    def _given_up(self, retries: Retries, error: TryAgainError) -> Exception:
        if retries.is_unreadable:
            return _RefusedError(ServerError(200, Cause.UNREADABLE))
        asked_for = f", to wait for {error.after_seconds:.0f} s" if error.after_seconds else ""
        return InfrastructureError(
            "ModelServerFailing",
            f"{self._server.base_url} failed {retries.failures} times in a row: {error}{asked_for}",
        )

    async def _try(self, path: str, content: bytes) -> Completion:
        """Ask the replica that has least to do, once there is a place."""
        try:
            replica = await self._replicas.acquire()
        except OSError as error:
            raise TryAgainError(_name(error)) from error
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._policy.request_seconds):
                completion = await self._once(replica.url + path, content)
        except TimeoutError as error:
            slow = TryAgainError("no answer in time", overload=True)
            raise self._failed(replica, started, slow) from error
        except TryAgainError as error:
            raise self._failed(replica, started, error) from error
        finally:
            self._replicas.release(replica)
        now = time.monotonic()
        self._last_success = now
        self._replicas.succeeded(replica, now - started, completion.completion_tokens or 1)
        return dataclasses.replace(completion, seconds=now - started)

    def _failed(self, replica: Replica, started: float, error: TryAgainError) -> TryAgainError:
        """The error, which says whether another replica can be asked at once."""
        other = self._replicas.failed(
            replica, started, overload=error.overload, after_seconds=error.after_seconds
        )
        return TryAgainError(str(error), overload=error.overload, elsewhere=True) if other else error

    async def _once(self, url: str, content: bytes) -> Completion:
        try:
            response, body = await self._post(url, content)
        except httpx.TimeoutException as error:
            raise TryAgainError(_name(error), overload=True) from error
        except httpx.TransportError as error:  # refused, cut off
            raise TryAgainError(_name(error)) from error
        except httpx.DecodingError as error:
            raise TryAgainError("an answer that is no completion") from error
        if not response.is_success:
            raise self._failure(response, body, url)
        try:
            return parse_completion(body)
        except NoCompletionError as error:
            raise _no_answer(error) from error

    def _failure(self, response: httpx.Response, body: bytes, url: str) -> Exception:
        """What follows from a response that is none of success."""
        words = read_server_error(response.status_code, body)
        if may_pass(response.status_code):
            overload = response.status_code in OVERLOAD_STATUS
            return TryAgainError(words.text, retry_after(response), overload=overload)
        if response.is_redirect or response.status_code == httpx.codes.UNAUTHORIZED:
            return self._explain(words, CHAT if url.endswith(CHAT) else RAW, response)
        return _RefusedError(words)

    async def _post(self, url: str, content: bytes) -> tuple[httpx.Response, bytes]:
        """The response and its body."""
        body = bytearray()
        headers = {"Content-Type": "application/json"}
        async with self._http.stream("POST", url, content=content, headers=headers) as response:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise TryAgainError(f"an answer of more than {MAX_BODY_BYTES} bytes")
        return response, bytes(body)


def _greeting(route: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": GREETING}]} if route == CHAT else {"prompt": GREETING}


def _no_answer(error: NoCompletionError) -> Exception:
    """What follows from a body without an answer."""
    if error.body is None:
        return TryAgainError(str(error))
    words = read_error_in_body(error.body)
    if words is None:
        return TryAgainError(str(error), unreadable=True)
    if not may_pass(words.status):
        return _RefusedError(words)
    return TryAgainError(words.text, overload=words.status in OVERLOAD_STATUS)


def _name(error: Exception) -> str:
    return type(error).__name__
