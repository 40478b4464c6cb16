"""The model behind the rails: one request, one answer.

The gateway asks by itself instead of through NeMo Guardrails, whose engines drop why an answer ended and
go on asking when nobody waits any more. Cancelling :meth:`Model.ask` closes the connection, by which a model
server notices. No proxy is used, whatever the environment says: the model is the operator's own Service.
"""

import json
from http import HTTPStatus
from typing import Any, Protocol

import aiohttp
from aiohttp_retry import ExponentialRetry, RetryClient

from safety_gateway.answers import FINISH_REASONS, Answer, Usage
from safety_gateway.chat_request import ChatRequest
from safety_gateway.errors import BadRequestError, GatewayError, UnavailableError
from safety_gateway.settings import ModelServer

ATTEMPTS = 3
"""Tries of a request whose connection fails, or whose server says that it cannot answer now."""
RETRIED = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
REFUSED = frozenset({400, 413, 422})
"""Statuses by which a server means the client's own request; by all others it means the gateway's."""
CONNECT_SECONDS = 5
KEEP_ALIVE_SECONDS = 4
"""Below the 5 s after which uvicorn, on which vLLM stands, closes an idle connection."""
MAX_WORDS = 500
"""Characters of a server's own words in an error."""

REASONING, REASONING_END = "<think>", "</think>"
MAX_RETRY_SECONDS = 3600
"""Longest time that a client is told to wait."""


class Model(Protocol):
    """A model that answers."""

    async def start(self) -> None:
        """Open connections."""

    async def stop(self) -> None:
        """Close connections."""

    async def ask(self, request: ChatRequest) -> Answer:
        """The model's answer, without its reasoning.

        Raises
        ------
        BadRequestError
            If the server refuses the client's request, with its words.
        UnavailableError
            If there is no answer for any other cause.
        """
        ...


class ServedModel:
    """A model at an OpenAI-compatible server."""

    def __init__(self, server: ModelServer, api_key: str | None) -> None:
        self._url = f"{server.url}/chat/completions"
        self._name = server.name
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout = aiohttp.ClientTimeout(total=server.timeout_seconds, connect=CONNECT_SECONDS)
        self._client: RetryClient | None = None

    async def start(self) -> None:
        """Open the session."""
        session = aiohttp.ClientSession(
            headers=self._headers,
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
        )
        retries = ExponentialRetry(
            attempts=ATTEMPTS,
            statuses=set(RETRIED),
            exceptions={aiohttp.ClientConnectionError},
            retry_all_server_errors=False,
        )
        self._client = RetryClient(client_session=session, retry_options=retries)

    async def stop(self) -> None:
        """Close the session."""
        if self._client is not None:
            await self._client.close()

    async def ask(self, request: ChatRequest) -> Answer:
        """The model's answer; see :class:`Model`."""
        body = {"model": self._name, "messages": request.messages, **request.parameters}
        assert self._client is not None
        try:
            async with self._client.post(self._url, json=body, allow_redirects=False) as response:
                data = await response.read()
                if response.status != HTTPStatus.OK:
                    raise refusal(response.status, data, response.headers.get("Retry-After"))
                return read_answer(data)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError("the model does not answer", code="model_unavailable") from error


def read_answer(data: bytes) -> Answer:
    """The answer in a body.

    Raises
    ------
    UnavailableError
        If it is none. Tools are never offered, so a call of one is none either.
    """
    try:
        body = json.loads(data)
        choice = body["choices"][0]
        text = read_text(choice["message"])
        reason = choice.get("finish_reason")
        known = reason in FINISH_REASONS
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UnavailableError("the model's answer cannot be read", code="model_unavailable") from error
    return Answer(
        text=text,
        finish_reason=reason if known else "stop",
        usage=read_usage(body.get("usage")),
    )


def read_text(message: dict[str, Any]) -> str:
    """What a model says, without its reasoning; empty where it only thought.

    Raises
    ------
    TypeError
        If it is no text.
    """
    text = message["content"] or ""
    if message.get("tool_calls") or not isinstance(text, str):
        raise TypeError("no text")
    return without_reasoning(text).strip() if REASONING_END in text else text


def without_reasoning(text: str) -> str:
    """The text without what stands between the marks of reasoning; linear in its length.

    A chat template that opens reasoning behind the prompt (DeepSeek-R1-Distill, Qwen3-Thinking) leaves an
    answer with the end alone: all before it is reasoning.
    """
    opened, closed = text.find(REASONING), text.find(REASONING_END)
    kept, start = [], closed + len(REASONING_END) if closed >= 0 and not 0 <= opened < closed else 0
    while (begin := text.find(REASONING, start)) >= 0 and (end := text.find(REASONING_END, begin)) >= 0:
        kept.append(text[start:begin])
        start = end + len(REASONING_END)
    return "".join([*kept, text[start:]])


def read_usage(value: Any) -> Usage | None:
    """Counts of tokens, where a server gave them."""
    if not isinstance(value, dict):
        return None
    prompt, answer = value.get("prompt_tokens"), value.get("completion_tokens")
    if type(prompt) is not int or type(answer) is not int or min(prompt, answer) < 0:
        return None
    return Usage(prompt, answer, prompt + answer)


def refusal(status: int, data: bytes, retry_after: str | None) -> GatewayError:
    """What a client is told of a server's refusal: its words where they are about the client's request."""
    if status in REFUSED:
        words = f"the model's server refuses the request: {read_words(data)}"
        return BadRequestError(words, code="model_refused")
    return UnavailableError(
        "the model does not answer", code="model_unavailable", retry_after=read_seconds(retry_after)
    )


def read_words(data: bytes) -> str:
    """What a server says about a request, cut to a bound."""
    try:
        body = json.loads(data)
        error = body.get("error", body)
        words = error.get("message") if isinstance(error, dict) else error
    except (ValueError, AttributeError, RecursionError):
        words = None
    return words[:MAX_WORDS] if isinstance(words, str) and words else "no reason given"


def read_seconds(text: str | None) -> float | None:
    """A Retry-After header in seconds, up to a bound; a date counts as none."""
    return min(float(text), MAX_RETRY_SECONDS) if text is not None and text.isdecimal() else None
