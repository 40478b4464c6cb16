"""The application: routes, bodies, errors in OpenAI's form, and clients that leave."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from safety_gateway.answers import (
    HEARTBEAT,
    Answer,
    Choice,
    EventWriter,
    Usage,
    completion,
    event,
)
from safety_gateway.callers import Caller, Callers
from safety_gateway.chat_request import ChatRequest, read_request
from safety_gateway.completion_request import read_completion_request
from safety_gateway.connections import KnowsConnection
from safety_gateway.course import current
from safety_gateway.embeddings import EmbeddingRequest, read_embedding_request
from safety_gateway.errors import (
    ClientGoneError,
    GatewayError,
    NotServedError,
    UnavailableError,
    error_object,
)
from safety_gateway.measuring import Measured
from safety_gateway.metrics_server import MetricsServer
from safety_gateway.middleware import OneLength, RequestId
from safety_gateway.pipeline import Pipeline
from safety_gateway.refusals import Refusals, read_languages
from safety_gateway.responses import error_response, json_response
from safety_gateway.room import Room
from safety_gateway.settings import Settings
from safety_gateway.tally import Tally
from safety_gateway.telemetry import Telemetry
from safety_gateway.text_answers import TextEventWriter, text_completion
from safety_gateway.tool_rules import apply_tool_rules

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BODY_BYTES = 1_048_576
"""1 MiB of request: far above any conversation that a small model can read."""
HEADERS_AFTER_SECONDS = 2
"""A stream's headers wait that long for the rails, so that an error has its status; then they are sent."""
HEARTBEAT_SECONDS = 5
"""Time between two signs of life of a stream whose answer is not checked yet."""
BEFORE_THE_BODY = frozenset({401, 408, 413, 429, 503})
"""Statuses of requests whose body is not read to its end: their connection closes, or it would wait."""
OWNER = "model-safety-operator"
STREAM_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


def build_app(
    settings: Settings,
    pipeline: Pipeline,
    callers: Callers,
    telemetry: Telemetry,
    metrics_port: int | None = None,
) -> Starlette:
    """The application of a configuration; metrics are told at a port of their own, where one is given."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await pipeline.start()
        server = MetricsServer(telemetry.metrics.registry)
        if metrics_port is not None:
            log.info("metrics at port %d", await server.start(metrics_port))
        following = asyncio.create_task(callers.follow())
        try:
            yield
        finally:
            following.cancel()
            await pipeline.stop()
            await server.stop()
            await asyncio.to_thread(telemetry.stop)

    card = {"id": settings.served_name, "object": "model", "created": 0, "owned_by": OWNER}

    async def health(_request: Request) -> Response:
        return json_response(200, {"status": "pass"})

    async def models(request: Request) -> Response:
        current().is_of(callers.find(request.headers.get("authorization")))
        return json_response(200, {"object": "list", "data": [card]})

    async def model(request: Request) -> Response:
        current().is_of(callers.find(request.headers.get("authorization")))
        if request.path_params["name"] != settings.served_name:
            raise NotServedError(f"the only model here is {settings.served_name}")
        return json_response(200, card)

    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/v1/health", health),
            Route("/v1/health/ready", health),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
            *_endpoints(settings, pipeline, callers),
        ],
        exception_handlers={HTTPException: _http_error, GatewayError: _gateway_error},
    )
    app.router.redirect_slashes = False
    app.add_middleware(OneLength)
    app.add_middleware(Measured, telemetry=telemetry)
    app.add_middleware(RequestId)
    app.add_middleware(KnowsConnection)
    return app


def _endpoints(settings: Settings, pipeline: Pipeline, callers: Callers) -> list[Route]:
    """Chat, and what the settings ask for besides."""
    given = (settings, pipeline, callers, Room())
    found = {"/v1/chat/completions": ChatEndpoint(*given, CHAT)} | (
        {"/v1/completions": ChatEndpoint(*given, TEXT)} if settings.endpoints.completions else {}
    )
    embeddings = {"/v1/embeddings": EmbeddingEndpoint(*given)} if settings.endpoints.embeddings else {}
    return [Route(path, endpoint, methods=["POST"]) for path, endpoint in {**found, **embeddings}.items()]


class Form(NamedTuple):
    """How an endpoint reads requests and writes answers."""

    read: Callable[[bytes, str, Collection[str]], ChatRequest]
    whole: Callable[[Answer, str], dict[str, Any]]
    writer: Callable[[str, bool], EventWriter | TextEventWriter]


CHAT = Form(read_request, completion, EventWriter)
TEXT = Form(read_completion_request, text_completion, TextEventWriter)


class Endpoint:
    """What all endpoints do with a request: keys, limits, its body, and clients that leave."""

    def __init__(self, settings: Settings, pipeline: Pipeline, callers: Callers, room: Room) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._callers = callers
        self._refusals = Refusals(settings.refusal, settings.refusals).all
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. What is still at work when the client leaves is cancelled."""
        caller = self._callers.find(Headers(scope=scope).get("authorization"))
        course = current()
        course.is_of(caller)
        self._room.check()
        try:
            caller.admit()
            with course.waiting():
                body = await self._room.read_body(receive, caller.max_body_bytes or MAX_BODY_BYTES)
            with self._room.place():
                tally = Tally(len(body))
                work = self._respond(scope, receive, send, self._read(body, caller, scope), tally)
                try:
                    await _while_connected(receive, work)
                finally:
                    caller.spend(tally.tokens)
                    course.usage = tally.usage
        except ClientGoneError:
            log.info("a client left")
        except asyncio.CancelledError as error:  # the process ends
            raise UnavailableError("the endpoint restarts", code="restarting", retry_after=1) from error

    def _read(self, body: bytes, caller: Caller, scope: Scope) -> Any:
        raise NotImplementedError

    async def _respond(self, scope: Scope, receive: Receive, send: Send, request: Any, tally: Tally) -> None:
        raise NotImplementedError


def _languages(scope: Scope) -> tuple[str, ...]:
    """Languages that the client asks for."""
    return read_languages(Headers(scope=scope).get("accept-language"))


class EmbeddingEndpoint(Endpoint):
    """``POST /v1/embeddings`` as an ASGI application."""

    def _read(self, body: bytes, caller: Caller, scope: Scope) -> EmbeddingRequest:
        request = read_embedding_request(body, self._settings.served_name)
        return replace(
            request, caller=caller.name, id=scope["state"]["request_id"], languages=_languages(scope)
        )

    async def _respond(
        self, scope: Scope, receive: Receive, send: Send, request: EmbeddingRequest, tally: Tally
    ) -> None:
        outcome = await _outcome(self._pipeline.embed(request))
        if isinstance(outcome, GatewayError):
            tally.take(outcome)
            await error_response(outcome)(scope, receive, send)
            return
        tokens = outcome["usage"]["prompt_tokens"]
        tally.take(Usage(tokens, 0, tokens))
        await json_response(200, outcome | {"model": self._settings.served_name})(scope, receive, send)


class ChatEndpoint(Endpoint):
    """``POST /v1/chat/completions`` or ``/v1/completions`` as an ASGI application."""

    def __init__(
        self, settings: Settings, pipeline: Pipeline, callers: Callers, room: Room, form: Form
    ) -> None:
        super().__init__(settings, pipeline, callers, room)
        self._form = form

    def _read(self, body: bytes, caller: Caller, scope: Scope) -> ChatRequest:
        request = self._form.read(body, self._settings.served_name, self._refusals)
        request = apply_tool_rules(request, self._settings.tool_calls)
        return replace(
            request, caller=caller.name, id=scope["state"]["request_id"], languages=_languages(scope)
        )

    async def _respond(
        self, scope: Scope, receive: Receive, send: Send, request: ChatRequest, tally: Tally
    ) -> None:
        if request.stream:
            async with aclosing(self._pipeline.stream(request)) as parts:
                await self._stream(scope, receive, send, request, tally.count(parts))
            return
        outcome = await _outcome(self._pipeline.answer(request))
        tally.take(outcome)
        if isinstance(outcome, GatewayError):
            response = error_response(outcome)
        else:
            response = json_response(200, self._form.whole(outcome, self._settings.served_name))
        await response(scope, receive, send)

    async def _stream(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        request: ChatRequest,
        parts: AsyncGenerator[Choice | Usage],
    ) -> None:
        """Send a stream's parts as they come. Before the first an error still has its own status."""
        writer = self._form.writer(self._settings.served_name, request.include_usage)
        usage: Usage | None = None
        course = current()
        coming = _coming(parts)
        try:
            await asyncio.wait({coming}, timeout=HEADERS_AFTER_SECONDS)
            if coming.done() and isinstance(error := coming.result(), GatewayError):
                await error_response(error)(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
            while True:
                while not coming.done():
                    await send(_body(HEARTBEAT))
                    await asyncio.wait({coming}, timeout=HEARTBEAT_SECONDS)
                part = coming.result()
                if isinstance(part, Usage):
                    usage = part
                elif isinstance(part, Choice):
                    course.first_part = course.first_part or time.perf_counter()
                    await send(_body(writer.part(part)))
                else:
                    end = writer.end(usage) if part is None else event(error_object(part))
                    await send(_body(end, more=False))
                    return
                coming = _coming(parts)
        finally:
            coming.cancel()
            await asyncio.wait({coming})


def _coming(parts: AsyncGenerator[Choice | Usage]) -> "asyncio.Task[Choice | Usage | GatewayError | None]":
    """The next part of a stream, once it is there; None at the end."""
    return asyncio.create_task(_outcome(_next(parts)))


async def _next(parts: AsyncGenerator[Choice | Usage]) -> Choice | Usage | None:
    return await anext(parts, None)


def _body(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def _while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work unless the client goes away before it is done.

    Raises
    ------
    ClientGoneError
        If it did; the work is cancelled.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        await working
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _outcome(work: Awaitable[T]) -> T | GatewayError:
    """What was waited for, or the error that a client is told of; what nobody foresaw closes the request."""
    try:
        return await work
    except GatewayError as error:
        log.info("no answer: %s", error.code)
        current().error = error
        return error
    except Exception as error:  # noqa: BLE001 - its text may hold anybody's words
        log.error("no answer: %s", type(error).__name__)  # noqa: TRY400
        current().error = told = UnavailableError("the request could not be carried out")
        return told


async def _gateway_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return error_response(error, {"Connection": "close"} if error.status in BEFORE_THE_BODY else None)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = error.detail.lower()
    told = GatewayError(words, status=error.status_code, code=words.replace(" ", "_"))
    return json_response(told.status, error_object(told), dict(error.headers or {}))
