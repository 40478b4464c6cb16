"""The model and the guard behind a gateway whose clients are tested: an agent's model, at OpenAI's API.

Asked about the weather with a tool at hand it calls it for one city after the other, and then says what it
found. ``bomb`` is what the guard blocks, ``busy`` what the model is too busy for.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.until import until

CITIES = ("Paris", "Oslo", "Rome")
END = "It is sunny in all three."
BASE = {"id": "x", "created": 0, "model": "model"}
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


async def chat(request: Request) -> Response:
    """One answer of the guard or of the model."""
    body = await request.json()
    text = json.dumps(body["messages"])
    if body["model"] == "content-safety":
        word = "unsafe" if "bomb" in text else "safe"
        return whole({"content": json.dumps({"User Safety": word, "Response Safety": word})}, 1)
    if "busy" in text:
        return JSONResponse({"error": {"message": "busy"}}, 429, {"Retry-After": "7"})
    message = answer(body, text)
    if body.get("stream"):
        return StreamingResponse(events(message), media_type="text/event-stream")
    return whole(message, body.get("n", 1))


def answer(body: dict[str, Any], text: str) -> dict[str, Any]:
    """The model's message."""
    seen = sum(message["role"] == "tool" for message in body["messages"])
    if "response_format" in body:
        return {"content": '{"city": "Paris"}'}
    if "weather" not in text:
        return {"content": "Paris."}
    if seen == len(CITIES):
        return {"content": END}
    call = {"name": "weather", "arguments": json.dumps({"city": CITIES[seen]})}
    return {"content": None, "tool_calls": [{"id": f"call_{seen}", "type": "function", "function": call}]}


def ended(message: dict[str, Any]) -> str:
    """Why the answer ends."""
    return "tool_calls" if message.get("tool_calls") else "stop"


def whole(message: dict[str, Any], number: int) -> Response:
    """The whole answer."""
    said = {"role": "assistant"} | message
    choices = [{"index": at, "message": said, "finish_reason": ended(message)} for at in range(number)]
    return JSONResponse(BASE | {"object": "chat.completion", "choices": choices, "usage": USAGE})


def events(message: dict[str, Any]) -> Iterator[str]:
    """The answer in parts: a call's arguments and a text in two."""
    parts: list[dict[str, Any]] = [{"role": "assistant"}]
    for call in message.get("tool_calls", ()):
        given = call["function"]["arguments"]
        begun = call["function"] | {"arguments": given[:5]}
        parts.append({"tool_calls": [call | {"index": 0, "function": begun}]})
        parts.append({"tool_calls": [{"index": 0, "function": {"arguments": given[5:]}}]})
    if text := message["content"]:
        parts += [{"content": text[:3]}, {"content": text[3:]}]
    for part in parts:
        yield event([{"index": 0, "delta": part, "finish_reason": None}])
    yield event([{"index": 0, "delta": {}, "finish_reason": ended(message)}])
    yield event([], USAGE)
    yield "data: [DONE]\n\n"


def event(choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> str:
    """One event."""
    data = BASE | {"object": "chat.completion.chunk", "choices": choices, "usage": usage}
    return f"data: {json.dumps(data)}\n\n"


@contextmanager
def serving(port: int) -> Iterator[str]:
    """The base URL of both, while they serve."""
    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, "the model's server")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        thread.join()
