"""A stand-in for vLLM's OpenAI server, cheap enough for 20 requests a second beside a whole cluster.

It takes the place of ``vllm.entrypoints.openai.api_server`` in the worker image, so that everything else of a
model server's pod is as with vLLM: start, middleware, probes, metrics, and the hook that drains it. It keeps
the GIL of one process only and ends like vLLM, which does not wait for open answers when it is told to end.
"""

import argparse
import asyncio
import importlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

TOKEN_SECONDS = 0.05
WORDS = ("the", "capital", "of", "France", "is", "Paris", "and", "eggs", "boil", "in", "minutes")
running = 0


@asynccontextmanager
async def counted() -> AsyncIterator[None]:
    """Count a request as vLLM's metrics do."""
    global running  # noqa: PLW0603 - one process, one number
    running += 1
    try:
        yield
    finally:
        running -= 1


async def words(number: int) -> AsyncIterator[str]:
    """An answer, word by word."""
    for index in range(number):
        await asyncio.sleep(TOKEN_SECONDS)
        yield f"{WORDS[index % len(WORDS)]} "


async def chat(request: Request) -> Response:
    """``POST /v1/chat/completions``."""
    key = os.environ.get("VLLM_API_KEY")
    if key and request.headers.get("authorization") != f"Bearer {key}":
        return JSONResponse({"error": "Unauthorized"}, 401)
    body = await request.json()
    number = int(body.get("max_completion_tokens") or body.get("max_tokens") or 8)
    if body.get("stream"):
        return StreamingResponse(events(number), media_type="text/event-stream")
    async with counted():
        text = "".join([word async for word in words(number)])
    message = {"role": "assistant", "content": text}
    return JSONResponse(answer({"message": message, "finish_reason": "stop"}, usage(number)))


async def events(number: int) -> AsyncIterator[str]:
    """A streamed answer."""
    async with counted():
        async for word in words(number):
            yield f"data: {json.dumps(answer({'delta': {'role': 'assistant', 'content': word}}))}\n\n"
        end = answer({"delta": {}, "finish_reason": "stop"})
        yield f"data: {json.dumps(end)}\n\n"
        yield f"data: {json.dumps(answer(None, usage(number)))}\n\ndata: [DONE]\n\n"


def usage(number: int) -> dict[str, Any]:
    """Counts of an answer."""
    return {"usage": {"prompt_tokens": 5, "completion_tokens": number, "total_tokens": 5 + number}}


def answer(choice: dict[str, Any] | None, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """An answer, or a part of one."""
    choices = [{"index": 0, "finish_reason": None, **choice}] if choice else []
    return {"id": "x", "object": "chat.completion", "created": 0, "model": "model", "choices": choices} | (
        more or {}
    )


async def metrics(_request: Request) -> Response:
    """What the hook reads before the pod ends."""
    labels = '{engine="0",model_name="model"}'
    return PlainTextResponse(
        f"vllm:num_requests_running{labels} {running}.0\nvllm:num_requests_waiting{labels} 0.0\n"
    )


async def models(_request: Request) -> Response:
    """``GET /v1/models``."""
    return JSONResponse({"object": "list", "data": [{"id": "model", "object": "model"}]})


async def health(_request: Request) -> Response:
    """For probes."""
    return Response()


def main() -> None:
    """Serve as vLLM is told to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--middleware")
    arguments, _others = parser.parse_known_args()
    routes = [
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/v1/models", models),
        Route("/v1/chat/completions", chat, methods=["POST"]),
    ]
    app: Any = Starlette(routes=routes)
    if arguments.middleware:
        module, _, name = arguments.middleware.rpartition(".")
        app = getattr(importlib.import_module(module), name)(app)
    uvicorn.run(
        app,
        host="0.0.0.0",
        port=arguments.port,
        access_log=False,
        timeout_graceful_shutdown=0,
    )


if __name__ == "__main__":
    main()
