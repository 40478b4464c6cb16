"""Client of one OpenAI-compatible server: asks, retries what may pass, and says why it gave up.

Answers are hostile input: they are cleaned of what no file can hold, and nothing of them gets into messages.
"""

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from safety_records.stages import Sampling, ServedModel
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.text import clean

RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Answers that say: not now."""

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
    seconds: float | None = None
    """From the request to its answer."""


class PromptRefusedError(Exception):
    """The server refuses this prompt for good. The message is the status, never its text."""


class _TryAgainError(Exception):
    """The request may pass later."""

    def __init__(self, why: str, after_seconds: float | None = None) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds


class ChatClient:
    """Connection pool to one server.

    Parameters
    ----------
    server
        Where it is and what its model is called.
    api_key
        Key; empty: none.
    concurrency
        Connections at most.
    patience
        How long to wait for what.
    """

    def __init__(self, server: ServedModel, api_key: str, concurrency: int, patience: Patience) -> None:
        self._server = server
        self._patience = patience
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
        loop = asyncio.get_running_loop()
        failing_since: float | None = None
        attempt = 0
        while True:
            try:
                return await self._once(path, content)
            except _TryAgainError as error:
                failing_since = loop.time() if failing_since is None else failing_since
                delay = self._delay(attempt, error.after_seconds)
                if loop.time() + delay - failing_since > self._patience.retry_seconds:
                    raise InfrastructureError(
                        "ModelServerFailing",
                        f"{self._server.base_url} failed {attempt + 1} times in a row: {error}",
                    ) from error
                attempt += 1
                await asyncio.sleep(delay)

    def _delay(self, attempt: int, after_seconds: float | None) -> float:
        longest = self._patience.longest_delay_seconds
        backoff = min(self._patience.first_delay_seconds * 2.0 ** min(attempt, 30), longest)
        jittered = backoff * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not cryptography
        return max(jittered, min(after_seconds or 0.0, longest))

    async def _once(self, path: str, content: bytes) -> Completion:
        try:
            response = await self._http.post(
                path, content=content, headers={"Content-Type": "application/json"}
            )
        except httpx.TransportError as error:  # refused, timed out, cut off
            raise _TryAgainError(_name(error)) from error
        status = response.status_code
        if status in (401, 403):
            raise self._unauthorized(status)
        if status == httpx.codes.NOT_FOUND:
            raise InputError(
                "EndpointNotFound",
                f"{self._server.base_url}{path} answers HTTP 404: check url and model",
            )
        if status in REFUSED_STATUS:
            raise PromptRefusedError(f"HTTP {status}")
        if status in RETRIED_STATUS or response.is_server_error:
            raise _TryAgainError(f"HTTP {status}", _retry_after(response))
        if not response.is_success:
            raise InputError(
                "EndpointRefuses", f"{self._server.base_url} answers HTTP {status}: check the endpoint"
            )
        return _parse(response)


def _parse(response: httpx.Response) -> Completion:
    try:
        body = json.loads(response.content)
        choice = body["choices"][0]
        text = (choice["message"].get("content") if "message" in choice else choice["text"]) or ""
        usage = body.get("usage") or {}
        if not isinstance(text, str):
            raise _TryAgainError("an answer whose content is no text")
        return Completion(
            text=clean(text),
            seconds=response.elapsed.total_seconds(),
            finish_reason=clean(str(choice.get("finish_reason") or "")),
            prompt_tokens=_count(usage.get("prompt_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _TryAgainError("an answer that is no completion") from error


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None


def _name(error: Exception) -> str:
    return type(error).__name__
