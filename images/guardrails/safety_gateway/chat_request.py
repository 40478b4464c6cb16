"""A client's request, rebuilt from the few fields that are meant for users.

A request could otherwise switch rails off, choose another model, or put words into the assistant's mouth.
Work is linear in the size of the body, and every list has a bound.
"""

import json
from dataclasses import dataclass
from typing import Any

from safety_gateway.errors import BadRequestError, NotServedError
from safety_gateway.rails import Message

MAX_MESSAGES = 4096
"""Far above any conversation; each message costs the guard work."""
MAX_STOPS = 16
"""Sequences in ``stop``; OpenAI takes 4, vLLM any number."""
MAX_NUMBER = 2**64
"""Largest size of a number: that of a seed. Beyond it no parameter means anything, and what JSON calls an
integer may have thousands of digits."""
MAX_NAME = 64
"""Characters of an unknown field's name in an error."""

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""Roles that a client may use, and what they become."""

PARAMETERS = (
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
)
"""Handed to the model as they are."""

IGNORED = frozenset({"user", "metadata", "store"})
"""Sent by common clients, without a meaning here."""

WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "tools": ([],),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "guardrails": ({"config_id": "rails"}, {}),
}
"""Allowed with a value that changes nothing, as is null in any field."""

KNOWN = IGNORED | {"model", "messages", "stream", "stream_options", "max_completion_tokens", *PARAMETERS}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a client may ask."""

    messages: list[Message]
    parameters: dict[str, Any]
    """Generation parameters for the model."""
    stream: bool = False
    include_usage: bool = False
    """Whether a stream ends with an event that has the counts of tokens."""


def read_request(data: bytes, served_name: str, refusal: str) -> ChatRequest:
    """The request in a body.

    Raises
    ------
    BadRequestError
        If the body asks for anything that is not meant for users.
    NotServedError
        If it names another model.
    """
    body = parse(data)
    if not isinstance(body, dict):
        raise BadRequestError("the body has to be a JSON object", code="invalid_body")
    if body.get("model") != served_name:
        raise NotServedError(f"the only model here is {served_name}")
    _refuse_unknown(body)
    return ChatRequest(
        messages=read_messages(body.get("messages"), refusal),
        parameters=read_parameters(body),
        stream=_flag(body, "stream"),
        include_usage=_include_usage(body.get("stream_options")),
    )


def parse(data: bytes) -> Any:
    """A JSON document; numbers that JSON does not know are refused."""
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequestError("the body is no JSON", code="invalid_body") from error


def _refuse_constant(name: str) -> Any:
    raise BadRequestError(f"{name} is no JSON number", code="invalid_body")


def _refuse_unknown(body: dict[str, Any]) -> None:
    for name, value in body.items():
        if value is None or name in KNOWN or value in WITHOUT_EFFECT.get(name, ()):
            continue
        shown = ascii(name[:MAX_NAME])[1:-1]
        raise BadRequestError(f"{shown} is not available behind the guardrails", code="unsupported_parameter")


def read_messages(value: Any, refusal: str) -> list[Message]:
    """The conversation, with role and text only, ending with the user.

    A turn that the rails refused is left out with the refusal, so that it neither reaches the model later nor
    blocks the rest of the conversation.
    """
    if not isinstance(value, list) or not value:
        raise BadRequestError("messages has to be a list with at least one message", code="invalid_messages")
    if len(value) > MAX_MESSAGES:
        raise BadRequestError(f"a request has at most {MAX_MESSAGES} messages", code="invalid_messages")
    messages: list[Message] = []
    for item in value:
        message = read_message(item)
        if _is_refusal(message, refusal) and messages and messages[-1]["role"] == "user":
            messages.pop()
        else:
            messages.append(message)
    if not messages or messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        raise BadRequestError("the last message has to be the user's, and not empty", code="invalid_messages")
    return messages


def _is_refusal(message: Message, refusal: str) -> bool:
    return message["role"] == "assistant" and message["content"].strip() == refusal.strip()


def read_message(item: Any) -> Message:
    """Role and text of one message."""
    role = item.get("role") if isinstance(item, dict) else None
    if not isinstance(role, str) or role not in ROLES:
        raise BadRequestError(
            f"a message's role has to be one of {', '.join(ROLES)}", code="unsupported_role"
        )
    return {"role": ROLES[role], "content": read_text(item.get("content"))}


def read_text(content: Any) -> str:
    """Text of a message: a string, or a list of text parts, joined by line ends."""
    if isinstance(content, str):
        return encodable(content)
    if not isinstance(content, list) or not content:
        raise _no_text()
    return encodable("\n".join(map(_text_part, content)))


def _text_part(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise _no_text()
    return text


def _no_text() -> BadRequestError:
    words = "a message's content has to be a text or a list of text parts"
    return BadRequestError(words, code="unsupported_content")


def encodable(text: str) -> str:
    """The text, unless it holds half of a UTF-16 pair, which no server can be sent."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRequestError("a text is no valid Unicode", code="invalid_messages") from error
    return text


def read_parameters(body: dict[str, Any]) -> dict[str, Any]:
    """Generation parameters for the model: finite numbers, and sequences that end the answer."""
    given = {name: body[name] for name in PARAMETERS if body.get(name) is not None}
    if "max_tokens" not in given and body.get("max_completion_tokens") is not None:
        given["max_tokens"] = body["max_completion_tokens"]
    for name, value in given.items():
        if not (_is_stop(value) if name == "stop" else _is_number(value)):
            raise BadRequestError(f"{name} has a wrong type or size", code="invalid_parameter")
    return given


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER


def _is_stop(value: Any) -> bool:
    stops = value if isinstance(value, list) else [value]
    return len(stops) <= MAX_STOPS and all(
        isinstance(stop, str) and encodable(stop) == stop for stop in stops
    )


def _flag(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, (bool, type(None))):
        raise BadRequestError(f"{name} has a wrong type", code="invalid_parameter")
    return bool(value)


def _include_usage(options: Any) -> bool:
    if options is None:
        return False
    if not isinstance(options, dict):
        raise BadRequestError("stream_options has a wrong type", code="invalid_parameter")
    return _flag(options, "include_usage")
