"""Client of one OpenAI-compatible server: asks, retries what may pass, and says why it gave up.

Answers are hostile input: they are cleaned of what no file can hold, and nothing of them gets into messages.
"""

import asyncio
import dataclasses
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import httpx

from safety_records.stages import Sampling, ServedModel
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.generation.replicas import Replica, Replicas, Resolve, resolve
from safety_worker.text import clean

RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Answers that say: not now."""

OVERLOAD_STATUS = frozenset({408, 425, 429, 503, 529})
"""Of these the ones that say: too much at a time."""

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Longest answer that is read: a server that never ends must not fill the memory."""

REFUSED_STATUS = frozenset({400, 413, 422})
"""Answers that say: never this prompt, for example because it is longer than the context."""


@dataclass(frozen=True)
class Patience:
    """How long the client waits for what."""

    ready_seconds: float = 1200.0
    """For a server that has not answered yet: it may be loading a large model."""
    retry_seconds: float = 600.0
    """For one request that keeps failing, from its first failure on."""
    request_seconds: float = 900.0
    """For one answer: a long chain of reasoning takes minutes."""
    first_delay_seconds: float = 0.5
    """Before the first repetition; doubled each time, with jitter."""
    longest_delay_seconds: float = 30.0


@dataclass(frozen=True)
class Completion:
    """What the server answered."""

    text: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    """Tokens as the server's own tokenizer counts them; None where it does not say."""
    seconds: float | None = None
    """From the request to its answer."""
    reasoning: str = ""
    """Reasoning that the server gives apart from the text."""


class PromptRefusedError(Exception):
    """The server refuses this prompt for good. The message is the status, never its text."""


class _TryAgainError(Exception):
    """The request may pass later."""

    def __init__(self, why: str, after_seconds: float | None = None, *, overload: bool = False) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds
        self.overload = overload


class _TryOtherError(_TryAgainError):
    """Another replica can be asked at once."""


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
    patience
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
        patience: Patience,
        resolver: Resolve = resolve,
        *,
        steady: bool = False,
    ) -> None:
        self._server = server
        self._patience = patience
        self._replicas = Replicas(server, concurrency, resolver, steady=steady)
        self._last_success = float("-inf")
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        timeout = httpx.Timeout(patience.request_seconds, connect=10.0, pool=None)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.AsyncClient(
            base_url=server.base_url.rstrip("/"), headers=headers, limits=limits, timeout=timeout
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def wait_ready(self, report: Callable[[str], None]) -> None:
        """Wait until the server lists its models.

        Raises
        ------
        InputError
            If it refuses the key, or does not serve the model that is asked for.
        InfrastructureError
            If it does not answer in time.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        delay = min(self._patience.first_delay_seconds, 1.0)
        while True:
            why = await self._probe()
            if not why:
                return
            waited = loop.time() - start
            if waited > self._patience.ready_seconds:
                raise InfrastructureError(
                    "ModelServerNotReady",
                    f"{self._server.base_url} was not ready after {waited:.0f} s: {why}",
                )
            report(f"waiting for the model server, {waited:.0f} s: {why}")
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, 5.0)

    async def _probe(self) -> str:
        """Why the server is not ready; empty if it is."""
        try:
            await self._replicas.refresh()
        except OSError as error:
            return _name(error)
        try:
            response = await self._http.get("/models", timeout=10.0)
        except httpx.TransportError as error:
            return _name(error)
        if response.status_code in (401, 403):
            raise self._unauthorized(response.status_code)
        if response.status_code == httpx.codes.NOT_FOUND:
            return ""  # some endpoints have no list of models
        if response.is_error:
            return f"HTTP {response.status_code}"
        try:
            models = [str(model["id"]) for model in response.json()["data"]]
        except (ValueError, LookupError, TypeError):
            return ""
        if models and self._server.model not in models:
            have = ", ".join(models[:5])
            raise InputError(
                "ModelNotServed", f"{self._server.base_url} serves {have}, not {self._server.model!r}"
            )
        return ""

    def _unauthorized(self, status: int) -> InputError:
        return InputError(
            "Unauthorized",
            f"{self._server.base_url} answers HTTP {status}: check apiKeySecretRef of the endpoint",
        )

    async def complete(
        self, messages: Sequence[Mapping[str, str]], sampling: Sampling, seed: int
    ) -> Completion:
        """One answer. A seed is sent only where sampling is random.

        Raises
        ------
        PromptRefusedError
            If the server will never answer this prompt.
        InputError
            If it refuses every prompt: wrong key, wrong path.
        InfrastructureError
            If it kept failing for longer than ``retry_seconds``.
        """
        return await self._ask("/chat/completions", {"messages": list(messages)}, sampling, seed)

    async def complete_text(self, prompt: str, sampling: Sampling, seed: int) -> Completion:
        """As :meth:`complete`, from a raw prompt without any chat template.

        The prompt has no beginning-of-sequence token: the server's tokenizer adds it.
        """
        return await self._ask("/completions", {"prompt": prompt}, sampling, seed)

    async def _ask(self, path: str, asked: Mapping[str, Any], sampling: Sampling, seed: int) -> Completion:
        body: dict[str, Any] = {
            "model": self._server.model,
            **asked,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        if sampling.temperature > 0:
            body["seed"] = seed
        content = json.dumps(body).encode("ascii")  # escapes whatever a prompt may hold
        failing_since: float | None = None
        attempt = 0
        while True:
            try:
                return await self._try(path, content)
            except _TryAgainError as error:
                now = time.monotonic()
                failing_since = now if failing_since is None else failing_since
                if error.overload:  # a server with too much to do works on others
                    failing_since = max(failing_since, self._last_success)
                delay = self._delay(attempt, error.after_seconds)
                if now + delay - failing_since > self._patience.retry_seconds:
                    wish = f", to wait for {error.after_seconds:.0f} s" if error.after_seconds else ""
                    raise InfrastructureError(
                        "ModelServerFailing",
                        f"{self._server.base_url} failed {attempt + 1} times in a row: {error}{wish}",
                    ) from error
                attempt += 1
                if not isinstance(error, _TryOtherError):
                    await asyncio.sleep(delay)

    async def _try(self, path: str, content: bytes) -> Completion:
        """Ask the replica that has least to do, once there is a place."""
        try:
            replica = await self._replicas.acquire()
        except OSError as error:
            raise _TryAgainError(_name(error)) from error
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._patience.request_seconds):
                completion = await self._once(replica.url + path, content)
        except TimeoutError as error:
            slow = _TryAgainError("no answer in time", overload=True)
            raise self._failed(replica, started, slow) from error
        except _TryAgainError as error:
            raise self._failed(replica, started, error) from error
        finally:
            self._replicas.release(replica)
        now = time.monotonic()
        self._last_success = now
        self._replicas.succeeded(replica, now - started, completion.completion_tokens or 1)
        return dataclasses.replace(completion, seconds=now - started)

    def _failed(self, replica: Replica, started: float, error: _TryAgainError) -> _TryAgainError:
        """The error, which says whether another replica can be asked at once."""
        other = self._replicas.failed(
            replica, started, overload=error.overload, after_seconds=error.after_seconds
        )
        return _TryOtherError(str(error), overload=error.overload) if other else error

    def _delay(self, attempt: int, after_seconds: float | None) -> float:
        """Seconds before the next try: growing with jitter, and never less than the server asks for."""
        longest = self._patience.longest_delay_seconds
        backoff = min(self._patience.first_delay_seconds * 2.0 ** min(attempt, 30), longest)
        jittered = backoff * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not cryptography
        return max(jittered, after_seconds or 0.0)

    async def _once(self, url: str, content: bytes) -> Completion:
        try:
            response, body = await self._post(url, content)
        except httpx.TimeoutException as error:
            raise _TryAgainError(_name(error), overload=True) from error
        except httpx.TransportError as error:  # refused, cut off
            raise _TryAgainError(_name(error)) from error
        except httpx.DecodingError as error:
            raise _TryAgainError("an answer that is no completion") from error
        status = response.status_code
        if status in (401, 403):
            raise self._unauthorized(status)
        if status == httpx.codes.NOT_FOUND:
            raise InputError("EndpointNotFound", f"{url} answers HTTP 404: check url and model")
        if status in REFUSED_STATUS:
            raise PromptRefusedError(f"HTTP {status}")
        if status in RETRIED_STATUS or response.is_server_error:
            overload = status in OVERLOAD_STATUS
            raise _TryAgainError(f"HTTP {status}", _retry_after(response), overload=overload)
        if not response.is_success:
            raise InputError(
                "EndpointRefuses", f"{self._server.base_url} answers HTTP {status}: check the endpoint"
            )
        return _parse(body)

    async def _post(self, url: str, content: bytes) -> tuple[httpx.Response, bytes]:
        """The response and its body."""
        body = bytearray()
        headers = {"Content-Type": "application/json"}
        async with self._http.stream("POST", url, content=content, headers=headers) as response:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _TryAgainError(f"an answer of more than {MAX_BODY_BYTES} bytes")
        return response, bytes(body)


def _parse(content: bytes) -> Completion:
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        message = choice.get("message")
        text = (choice["text"] if message is None else _said(message)) or ""
        usage = body.get("usage") or {}
        if not isinstance(text, str):
            raise _TryAgainError("an answer whose content is no text")
        return Completion(
            text=clean(text),
            finish_reason=clean(str(choice.get("finish_reason") or "")),
            prompt_tokens=_count(usage.get("prompt_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
            reasoning=clean(_reasoning(message or {})),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _TryAgainError("an answer that is no completion") from error


def _said(message: Mapping[str, Any]) -> Any:
    """The answer; some servers put a refusal in a field of its own, and no content beside it."""
    return message.get("content") or message.get("refusal")


def _reasoning(message: Mapping[str, Any]) -> str:
    """What vLLM and others call ``reasoning`` or ``reasoning_content`` where a parser takes it out."""
    found = (message.get(name) for name in ("reasoning", "reasoning_content"))
    return next((text for text in found if isinstance(text, str) and text), "")


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait, as a number or as a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return seconds if 0 < seconds < float("inf") else None


def _name(error: Exception) -> str:
    return type(error).__name__
