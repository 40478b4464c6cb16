"""The model behind the rails: one request, its answer whole or as it comes.

The gateway asks by itself instead of through NeMo Guardrails, whose engines drop why an answer ended and
go on asking when nobody waits any more. Cancelling :meth:`Model.ask`, or closing :meth:`Model.stream`, closes
the connection, by which a model server notices. No proxy is used, whatever the environment says: the model is
the operator's own Service.
"""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Protocol

import aiohttp
from aiohttp_retry import ExponentialRetry, RetryClient

from safety_gateway.answers import Answer, Usage
from safety_gateway.chat_request import ChatRequest
from safety_gateway.course import current
from safety_gateway.embeddings import EmbeddingRequest, read_embeddings
from safety_gateway.errors import NotServedError, UnavailableError
from safety_gateway.model_answers import Delta, as_chat, read_answer, read_event, refusal, unreadable
from safety_gateway.renewed import RenewedClients
from safety_gateway.settings import ModelServer

ATTEMPTS = 3
"""Tries of a request whose connection fails, or whose server says that it cannot answer now."""
RETRIED = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
ABSENT = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
CONNECT_SECONDS = 5
KEEP_ALIVE_SECONDS = 4
"""Below the 5 s after which uvicorn, on which vLLM stands, closes an idle connection."""
MAX_EVENT_BYTES = 4_194_304
"""Largest event of a stream."""
END = b"[DONE]"


class Model(Protocol):
    """A model that answers."""

    async def start(self) -> None:
        """Open connections."""

    async def stop(self) -> None:
        """Close connections."""

    async def ask(self, request: ChatRequest) -> Answer:
        """The model's answer, without reasoning that is not shown.

        Raises
        ------
        BadRequestError
            If the server refuses the client's request, with its words.
        UnavailableError
            If there is no answer for any other cause.
        """
        ...

    def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Usage]:
        """The answer as it comes, then the counts where the server gives them; raises as :meth:`ask`."""
        ...

    async def embed(self, request: EmbeddingRequest) -> dict[str, Any]:
        """The vectors of texts, in OpenAI's form; raises as :meth:`ask`."""
        ...


class ServedModel:
    """A model at an OpenAI-compatible server."""

    def __init__(self, server: ModelServer, api_key: str | None, tls: ssl.SSLContext) -> None:
        self._url = server.url
        self._name = server.name
        self._show_reasoning = server.show_reasoning
        self._opens_reasoning = server.opens_reasoning
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout = aiohttp.ClientTimeout(total=server.timeout_seconds, connect=CONNECT_SECONDS)
        self._tls = tls
        self._connections = RenewedClients(self._connect)

    def _connect(self) -> RetryClient:
        session = aiohttp.ClientSession(
            headers=self._headers,
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=self._tls),
        )
        retries = ExponentialRetry(
            attempts=ATTEMPTS,
            statuses=set(RETRIED),
            exceptions={aiohttp.ClientConnectionError},
            retry_all_server_errors=False,
        )
        return RetryClient(client_session=session, retry_options=retries)

    async def start(self) -> None:
        """Connections are opened when they are wanted."""

    async def stop(self) -> None:
        """Close them."""
        await self._connections.close()

    async def ask(self, request: ChatRequest) -> Answer:
        """The model's answer; see :class:`Model`."""
        async with self._response(request, {}) as response:
            data = await response.read()
        if request.endpoint == "completions":
            return read_answer(as_chat(data), request.choices, show_reasoning=True)
        return read_answer(
            data,
            request.choices,
            show_reasoning=self._show_reasoning,
            opens_reasoning=self._opens_reasoning,
        )

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Usage]:
        """The answer as it comes; see :class:`Model`."""
        more = {"stream": True, "stream_options": {"include_usage": True}}
        async with self._response(request, more) as response:
            async for data in _events(response.content.iter_any()):
                if data == END:
                    return
                for item in read_event(as_chat(data) if request.endpoint == "completions" else data):
                    yield item

    def _asked(self, request: ChatRequest) -> tuple[str, dict[str, Any]]:
        """Where the model is asked, and with what."""
        if request.endpoint == "completions":
            return f"{self._url}/completions", {"prompt": request.messages[-1]["content"]}
        return f"{self._url}/chat/completions", {"messages": request.messages}

    async def embed(self, request: EmbeddingRequest) -> dict[str, Any]:
        """The vectors of texts in OpenAI's form. Raises as :meth:`Model.ask`, and NotServedError."""
        body = {"model": self._name, "input": list(request.texts), **request.parameters}
        absent = "the model's server has no embeddings: serve a model that has"
        async with self._post(f"{self._url}/embeddings", body, absent) as response:
            return read_embeddings(await response.read(), len(request.texts))

    @asynccontextmanager
    async def _response(
        self, request: ChatRequest, more: dict[str, Any]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The server's response to a request; what goes wrong with it is told in the gateway's words."""
        url, asked = self._asked(request)
        async with self._post(url, {"model": self._name, **asked, **request.parameters, **more}) as response:
            yield response

    @asynccontextmanager
    async def _post(
        self, url: str, body: dict[str, Any], absent: str = ""
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The server's response; ``absent``: what a client is told where the server has no such endpoint."""
        trace_parent = current().trace_parent
        headers = {"traceparent": trace_parent} if trace_parent else None
        try:
            async with (
                self._connections.client() as client,
                client.post(url, json=body, headers=headers, allow_redirects=False) as response,
            ):
                if absent and response.status in ABSENT:
                    raise NotServedError(absent, code="unsupported_endpoint")
                if response.status != HTTPStatus.OK:
                    data = await response.read()
                    raise refusal(response.status, data, response.headers.get("Retry-After"))
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError("the model does not answer", code="model_unavailable") from error


async def _events(parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Data of server-sent events. Lines without data, such as comments, are passed over."""
    rest = b""
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        if len(rest) > MAX_EVENT_BYTES:
            raise unreadable()
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
