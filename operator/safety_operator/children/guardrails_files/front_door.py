"""The front door of the NeMo Guardrails server: what a client may ask of it.

The server's own request schema lets a client switch the rails off (``guardrails.options.rails``, a message
with the role ``context``), choose another main model (``model``), end the conversation with words put into
the assistant's mouth, and hide text in earlier turns that no input rail reads. This module stands before the
server and rebuilds each request from the few fields that are meant for users.

The server loads it from ``config.py`` in its configuration folder and calls :func:`init` while it starts.
Its counterpart in the rails' own folder, ``rails/config.py``, hands the whole conversation to the rails.
Left out: authentication, rate limits.
"""

import json
import logging
import math
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import yaml
from nemoguardrails import LLMRails, RailsConfig
from nemoguardrails.server import api

log = logging.getLogger("front_door")

CONFIG_ID = "rails"
"""Folder of the only configuration."""

CHAT_PATH = "/v1/chat/completions"
LIVE_PATH = "/v1/health"
"""Passed through: says only that the process answers."""

READY_PATH = "/v1/health/ready"
"""Answered here: 200 once the rails are loaded, so that a broken configuration never gets traffic."""

MAX_BODY_BYTES = 1_048_576
"""1 MiB of request: far above any conversation that a small model can read."""

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""Roles that a client may use, and what they become."""

GENERATION_PARAMETERS = (
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
)
"""Handed to the main model as they are, if they are scalars or lists of strings."""

IGNORED_FIELDS = ("user", "metadata", "stream_options", "store")
"""Sent by common clients, without a meaning here."""

EXACT_FIELDS: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "tools": ([],),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "guardrails": ({"config_id": CONFIG_ID}, {}),
}
"""Allowed with a value that changes nothing, as is null in any field."""

BLOCKED = "content_filter"
"""OpenAI's finish reason of a withheld answer: by it a client tells a block from a refusal of the model's."""

INTERNAL_ERROR = "internal error has occurred"
"""Part of the text that the server answers with status 200 when a rail itself failed."""

SERVER_LOG = "uvicorn.error"
"""Logger of the server's start and end; its warnings and errors are about requests."""

MAX_CAUSES = 5
"""Errors behind an error that a log names."""

Message = dict[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Refused(Exception):  # noqa: N818 - it is an answer, not an error
    """The request is not passed on."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


def read_text(content: Any) -> str:
    """Text of a message: a string, or a list of text parts, joined by line ends."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = [
        part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts
    ]
    if texts and all(isinstance(text, str) for text in texts):
        return encodable("\n".join(texts))
    raise Refused(400, "a message's content has to be a text or a list of text parts", "unsupported_content")


def encodable(text: str) -> str:
    """The text, unless it holds half of a UTF-16 pair, which no server can be sent."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused(400, "a message's content is no valid Unicode", "invalid_messages") from error
    return text


def read_messages(value: Any, refusal: str) -> list[dict[str, str]]:
    """The conversation, with role and text only; turns that the rails refused are left out.

    A refused turn stays out of what the model sees, so that it neither reaches the model later nor blocks
    the rest of the conversation. The last message is the user's.
    """
    if not isinstance(value, list) or not value:
        raise Refused(400, "messages has to be a list with at least one message", "invalid_messages")
    messages: list[dict[str, str]] = []
    for item in value:
        role = (
            ROLES.get(item.get("role", ""))
            if isinstance(item, dict) and isinstance(item.get("role"), str)
            else None
        )
        if role is None:
            raise Refused(400, f"a message's role has to be one of {', '.join(ROLES)}", "unsupported_role")
        text = read_text(item.get("content"))
        if role == "assistant" and text.strip() == refusal and messages and messages[-1]["role"] == "user":
            messages.pop()
            continue
        messages.append({"role": role, "content": text})
    if not messages or messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        raise Refused(400, "the last message has to be the user's, and not empty", "invalid_messages")
    return messages


def read_parameters(body: dict[str, Any]) -> dict[str, Any]:
    """Generation parameters for the main model."""
    given = {name: body[name] for name in GENERATION_PARAMETERS if body.get(name) is not None}
    if "max_tokens" not in given and body.get("max_completion_tokens") is not None:
        given["max_tokens"] = body["max_completion_tokens"]
    for name, value in given.items():
        strings = isinstance(value, list) and all(isinstance(item, str) for item in value)
        scalar = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not (strings or isinstance(value, str) if name == "stop" else scalar):
            raise Refused(400, f"{name} has a wrong type", "invalid_parameter")
    return given


def rebuild(body: Any, model: str, refusal: str) -> dict[str, Any]:
    """The request that the server gets.

    Raises
    ------
    Refused
        If the request asks for anything that is not meant for users.
    """
    if not isinstance(body, dict):
        raise Refused(400, "the body has to be a JSON object", "invalid_body")
    if body.get("model") != model:
        raise Refused(404, f"the only model here is {model}", "model_not_found")
    if not isinstance(body.get("stream", False), (bool, type(None))):
        raise Refused(400, "stream has a wrong type", "invalid_parameter")
    known = {"model", "messages", "stream", "max_completion_tokens", *GENERATION_PARAMETERS, *IGNORED_FIELDS}
    for name, value in body.items():
        if (
            value is not None
            and name not in known
            and not (name in EXACT_FIELDS and value in EXACT_FIELDS[name])
        ):
            raise Refused(400, f"{name[:64]} is not available behind the guardrails", "unsupported_parameter")
    options = {"llm_params": read_parameters(body), "log": {"activated_rails": True}}
    return {
        "model": model,
        "messages": read_messages(body.get("messages"), refusal),
        "guardrails": {"config_id": CONFIG_ID, "options": options},
    }


def close_answer(status: int, body: bytes) -> tuple[int, bytes]:
    """The server's answer, marked with :data:`BLOCKED` where a rail stopped it, without the rails' log.

    A rail that failed becomes a 503 instead of a text with status 200, as does an answer without the log:
    nobody could say whether it was blocked.
    """
    if status != 200:  # noqa: PLR2004 - HTTP
        return status, body
    answer = json.loads(body)
    choice = answer["choices"][0]
    text = choice["message"]["content"] or ""
    activated = ((answer.get("guardrails") or {}).pop("log", None) or {}).get("activated_rails")
    if activated is None or (INTERNAL_ERROR in text and len(text) < 2 * len(INTERNAL_ERROR)):
        return 503, error_body("a rail could not be carried out", "guardrails_unavailable")
    if any(rail["stop"] for rail in activated):
        choice["finish_reason"] = BLOCKED
    return status, json.dumps(answer).encode()


def error_body(message: str, code: str) -> bytes:
    """An error in OpenAI's form."""
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": code}}).encode()


def as_stream(body: bytes) -> bytes:
    """A complete, checked answer as server-sent events: nothing is shown before the rails have read all."""
    answer = json.loads(body)
    choice = answer["choices"][0]
    base = {
        "id": answer.get("id") or f"chatcmpl-{uuid.uuid4()}",
        "object": "chat.completion.chunk",
        "created": answer.get("created") or int(time.time()),
        "model": answer.get("model"),
    }
    text = choice["message"]["content"]
    deltas = [
        {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": choice.get("finish_reason") or "stop"},
    ]
    chunks = [json.dumps(base | {"choices": [delta]}) for delta in deltas]
    return "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"]).encode()


class FrontDoor:
    """ASGI application around the server's."""

    def __init__(
        self, inner: Callable[[Scope, Receive, Send], Awaitable[None]], model: str, refusal: str
    ) -> None:
        self._inner = inner
        self._model = model
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass health checks, answer the list of models, rebuild chat requests, refuse the rest."""
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            raise RuntimeError(f"{scope['type']} is not served")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = (scope["method"], scope["path"])
        if route == ("GET", LIVE_PATH):
            await self._inner(scope, receive, send)
        elif route == ("GET", READY_PATH):
            await load_rails(self._model)
            await reply(send, 200, b'{"status": "pass"}')
        elif route == ("GET", "/v1/models"):
            models = [
                {"id": self._model, "object": "model", "created": 0, "owned_by": "model-safety-operator"}
            ]
            await reply(send, 200, json.dumps({"object": "list", "data": models}).encode())
        elif route == ("POST", CHAT_PATH):
            await self._chat(scope, receive, send)
        else:
            await reply(send, 404, error_body("not found", "not_found"))

    async def _chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            asked = parse(await read_body(receive))
            request = rebuild(asked, self._model, self._refusal)
        except Refused as refused:
            await reply(send, refused.status, error_body(refused.message, refused.code))
            return
        status, body = close_answer(*await self._ask(scope, request))
        if status == 200 and asked.get("stream"):  # noqa: PLR2004 - HTTP
            await reply(send, status, as_stream(body), "text/event-stream")
        else:
            await reply(send, status, body)

    async def _ask(self, scope: Scope, request: dict[str, Any]) -> tuple[int, bytes]:
        data = json.dumps(request).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        inner_scope = {**scope, "headers": headers, "query_string": b""}
        sent: list[Message] = []
        incoming = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive() -> Message:
            return incoming.pop() if incoming else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        try:
            await self._inner(inner_scope, receive, send)
        finally:
            forget_conversations()
        body = b"".join(
            message.get("body", b"") for message in sent if message["type"] == "http.response.body"
        )
        return sent[0]["status"], body


async def load_rails(model: str) -> None:
    """Load the configuration, once. An error becomes the server's 500 and stands in its log."""
    await api._get_rails([CONFIG_ID], model_name=model)  # noqa: SLF001 - what each request calls first


def build_quiet_rails(config: RailsConfig, **_verbose: Any) -> LLMRails:
    """Rails without the server's verbose mode, which writes every conversation into the log."""
    return LLMRails(config=config)


def forget_conversations() -> None:
    """Drop the server's history of events, which otherwise grows with every conversation for ever."""
    for rails in api.llm_rails_instances.values():
        rails.events_history_cache.clear()


def parse(data: bytes) -> Any:
    """A JSON document; numbers that JSON does not know are refused."""

    def refuse_constant(name: str) -> Any:
        raise Refused(400, f"{name} is no JSON number", "invalid_body")

    try:
        return json.loads(data, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the body is no JSON", "invalid_body") from error


async def read_body(receive: Receive) -> bytes:
    """The request's body, up to its bound."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused(400, "the client went away", "disconnected")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise Refused(413, f"a request has at most {MAX_BODY_BYTES} bytes", "too_large")
        if not message.get("more_body", False):
            return b"".join(parts)


async def reply(send: Send, status: int, body: bytes, content_type: str = "application/json") -> None:
    """Send a complete answer."""
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def keep_words_out_of_logs() -> None:
    """From now on no record of a library carries anything but where it was made and what kind of error it is.

    Libraries quote what users and models said: NeMo Guardrails the parameters of a rail that failed, clients
    the body of an answer, a traceback the text of its error, an access log the query.
    """
    make = logging.getLogRecordFactory()

    def make_wordless(*args: Any, **fields: Any) -> logging.LogRecord:
        record = make(*args, **fields)
        if record.name != log.name and (record.levelno >= logging.WARNING or record.name != SERVER_LOG):
            silence(record)
        return record

    logging.setLogRecordFactory(make_wordless)
    for noisy in ("nemoguardrails", "httpx", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def silence(record: logging.LogRecord) -> None:
    """Replace a record's text by its place, and by the types of the errors that it tells of."""
    kinds = []
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    while error is not None and len(kinds) < MAX_CAUSES:
        kinds.append(type(error).__name__)
        error = error.__cause__
    cause = f" ({', caused by '.join(kinds)})" if kinds else ""
    record.msg = f"{record.module}, line {record.lineno}{cause}"
    record.args, record.exc_info, record.exc_text, record.stack_info = (), None, None, None


def read_refusal(colang: str) -> str:
    """The text of ``bot refuse to respond`` in the rails' Colang file."""
    lines = colang.splitlines()
    return lines[lines.index("define bot refuse to respond") + 1].strip()[1:-1]


def init(app: Any) -> None:
    """Put the front door before the server. Called by the server while it starts."""
    folder = Path(app.rails_config_path) / CONFIG_ID
    models = yaml.safe_load((folder / "config.yml").read_text(encoding="utf-8"))["models"]
    model = next(entry["model"] for entry in models if entry["type"] == "main")
    refusal = read_refusal((folder / "rails.co").read_text(encoding="utf-8"))
    api.LLMRails = build_quiet_rails
    keep_words_out_of_logs()
    app.middleware_stack = FrontDoor(app.middleware_stack, model, refusal)
    log.info("front door in place: model %s", model)
