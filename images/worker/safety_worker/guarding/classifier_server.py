"""An OpenAI-compatible server on a local classifier, for NeMo Guardrails' content-safety flows.

``safety-worker serve-classifier --name NAME --threshold T --answer-threshold T --port P``. It answers like
a NemoGuard content-safety model, so the same rails work with it and with the real one. Left out: everything
that those rails do not ask for, such as streaming and sampling.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import time
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from safety_worker.guarding.verdicts import Thresholds, judge
from safety_worker.judging.classifier import Predict, load_image_classifier

log = logging.getLogger(__name__)

MODEL = "content-safety"
"""Name that the server gives itself; the request's is not looked at."""

EVERY_ADDRESS = ""
"""All addresses of the pod, of both families."""

MAX_BODY_BYTES = 4_194_304
"""4 MiB: several times what the rails let through."""


def main(argv: Sequence[str]) -> int:
    """Load the classifier and serve until stopped."""
    # The first process of a pod gets no signal that it has no handler for; uvicorn sets its own.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    parser = argparse.ArgumentParser(prog="safety-worker serve-classifier")
    parser.add_argument("--name", required=True, help="name of the classifier")
    parser.add_argument(
        "--threshold", type=share, required=True, help="probability from which a request is unsafe"
    )
    parser.add_argument(
        "--answer-threshold", type=share, required=True, help="probability from which an answer is unsafe"
    )
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO)
    predict = load_image_classifier(arguments.name)
    predict(["warm-up"])
    thresholds = Thresholds(arguments.threshold, arguments.answer_threshold)
    log.info("classifier ready: name=%s thresholds=%s", arguments.name, thresholds)
    app = build_app(predict, thresholds)
    uvicorn.run(app, host=EVERY_ADDRESS, port=arguments.port, log_level="warning")
    return 0


def share(text: str) -> float:
    """A probability above 0: at 0 everything would be unsafe, above 1 nothing."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def build_app(predict: Predict, thresholds: Thresholds) -> Starlette:
    """The application."""
    lock = asyncio.Lock()

    async def complete(request: Request) -> Response:
        body = await read_body(request)
        prompt = find_prompt(body)
        async with lock:  # one text after the other: the classifier takes all cores by itself
            if await request.is_disconnected():  # the rails gave up while it waited
                return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)
            verdict = await run_in_threadpool(judge, prompt, predict, thresholds)
        return JSONResponse(build_answer(json.dumps(verdict), chat="messages" in body))

    async def models(_request: Request) -> JSONResponse:
        entry = {"id": MODEL, "object": "model", "created": 0, "owned_by": "model-safety-operator"}
        return JSONResponse({"object": "list", "data": [entry]})

    async def health(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", complete, methods=["POST"]),
            Route("/v1/completions", complete, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
        ]
    )


async def read_body(request: Request) -> dict[str, Any]:
    """The request's JSON object; an empty one, which is unsafe, for anything else."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            return {}
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def find_prompt(body: dict[str, Any]) -> str:
    """The rails' prompt: the only message, or the completion's prompt; else empty, which is unsafe."""
    messages = body.get("messages")
    if messages is None:
        return _text(body.get("prompt"))
    if not isinstance(messages, list) or len(messages) != 1 or not isinstance(messages[0], dict):
        return ""
    return _text(messages[0].get("content"))


def build_answer(text: str, *, chat: bool) -> dict[str, Any]:
    """An answer in the form of the chat or the completions endpoint."""
    content: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [{"index": 0, "finish_reason": "stop", **content}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
