"""A client's request, rebuilt from the few fields that are meant for users.

A request could otherwise switch rails off, choose another model, or put words into the assistant's mouth.
Work is linear in the size of the body, and every list has a bound.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from safety_gateway.errors import BadRequestError, NotServedError
from safety_gateway.json_text import unescaped
from safety_gateway.messages import encodable, for_rails, read_messages, without_results
from safety_gateway.rails import Message
from safety_gateway.tools import Tools, read_tool_choice, read_tools

MAX_STOPS = 16
"""Sequences in ``stop``; OpenAI takes 4, vLLM any number."""
MAX_CHOICES = 8
"""Answers to one request (``n``); each costs the model and the rails."""
MAX_LOGPROBS = 20
"""Alternatives of a token, as OpenAI has it."""
MAX_NUMBER = 2**64
"""Largest size of a number: that of a seed. Beyond it no parameter means anything, and what JSON calls an
integer may have thousands of digits."""
READ_BY_THE_MODEL = ("tools", "response_format")
"""Parameters with texts of the client's that reach the model, such as the descriptions of tools."""
MAX_NAME = 64
"""Characters of an unknown field's name in an error."""

IGNORED = frozenset({"user", "metadata", "store", "safety_identifier", "prompt_cache_key"})
"""Sent by common clients, without a meaning here."""

WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "service_tier": ("auto", "default"),
    "guardrails": ({"config_id": "rails"}, {}),
    "modalities": (["text"],),
    "n": (1,),
    "logprobs": (False,),
    "response_format": ({"type": "text"},),
}
"""Allowed with a value that changes nothing, as is null in any field."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a client may ask."""

    messages: list[dict[str, Any]]
    """The conversation as the model reads it."""
    parameters: dict[str, Any]
    """Further fields for the model."""
    tools: Tools = field(default_factory=Tools)
    choices: int = 1
    """Answers that are asked for."""
    stream: bool = False
    include_usage: bool = False
    """Whether a stream ends with an event that has the counts of tokens."""
    caller: str = ""
    """Name of who asks."""
    id: str = ""
    """The request's id, in answers and in the audit trail."""
    languages: tuple[str, ...] = ()
    """Languages that the client asks for, in lower case, the most wanted first."""
    check_results: bool = True
    """Whether the rails read what tools gave back."""
    endpoint: Literal["chat", "completions"] = "chat"
    """How the model is asked: with its chat template, or with the user's only text as it is."""

    @property
    def conversation(self) -> list[Message]:
        """The conversation as the rails read it, behind what else of the client's words the model reads."""
        words = unescaped(_read_besides(self.parameters))
        said = for_rails(self.messages if self.check_results else without_results(self.messages))
        return [*([{"role": "system", "content": words}] if words else []), *said]


def read_request(data: bytes, served_name: str, refusals: Collection[str]) -> ChatRequest:
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
    return read_body_request(body, served_name, refusals)


def read_body_request(body: dict[str, Any], served_name: str, refusals: Collection[str]) -> ChatRequest:
    """The request in a body that is read; raises as :func:`read_request`."""
    if body.get("model") != served_name:
        raise NotServedError(f"the only model here is {served_name}")
    _refuse_unknown(body)
    tools = read_tools(body.get("tools"))
    parameters = read_parameters(body) | _tool_parameters(body, tools)
    encodable(_read_besides(parameters))
    return ChatRequest(
        messages=read_messages(body.get("messages"), refusals),
        parameters=parameters,
        tools=tools,
        choices=parameters.get("n", 1),
        stream=_flag(body, "stream"),
        include_usage=_include_usage(body.get("stream_options")),
    )


def _read_besides(parameters: Mapping[str, Any]) -> str:
    """What the model reads besides the conversation, as JSON; empty without any."""
    given = {name: parameters[name] for name in READ_BY_THE_MODEL if name in parameters}
    return json.dumps(given, ensure_ascii=False) if given else ""


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


def read_parameters(body: dict[str, Any]) -> dict[str, Any]:
    """Parameters for the model, each of its own type and size."""
    said = ((name, body[name]) for name in PARAMETERS if body.get(name) is not None)
    given = {name: value for name, value in said if value not in WITHOUT_EFFECT.get(name, ())}
    if "max_tokens" not in given and body.get("max_completion_tokens") is not None:
        given["max_tokens"] = body["max_completion_tokens"]
    for name, value in given.items():
        if not PARAMETERS[name](value):
            raise BadRequestError(f"{name} has a wrong type or size", code="invalid_parameter")
    if "top_logprobs" in given and not given.get("logprobs"):
        raise BadRequestError("top_logprobs needs logprobs: true", code="invalid_parameter")
    return given


def _tool_parameters(body: dict[str, Any], tools: Tools) -> dict[str, Any]:
    """The tools for the model, and which it may call."""
    if not tools.schemas:
        if body.get("tool_choice") not in (None, "none", "auto"):
            raise BadRequestError("tool_choice needs tools", code="invalid_tools")
        return {}
    found: dict[str, Any] = {"tools": body["tools"]}
    if body.get("tool_choice") is not None:
        found["tool_choice"] = read_tool_choice(body["tool_choice"], tools)
    if body.get("parallel_tool_calls") is not None:
        found["parallel_tool_calls"] = _flag(body, "parallel_tool_calls")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER


def _is_count(bound: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and 0 <= value <= bound


def _is_stop(value: Any) -> bool:
    stops = value if isinstance(value, list) else [value]
    return len(stops) <= MAX_STOPS and all(
        isinstance(stop, str) and encodable(stop) == stop for stop in stops
    )


def _is_format(value: Any) -> bool:
    """``text``, ``json_object``, or ``json_schema`` with a schema, which the model's server checks."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in ("text", "json_object"):
        return set(value) == {"type"}
    schema = value.get("json_schema") if kind == "json_schema" else None
    return isinstance(schema, dict) and isinstance(schema.get("schema"), dict)


def _is_effort(value: Any) -> bool:
    return value in ("none", "minimal", "low", "medium", "high")


PARAMETERS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("temperature", "top_p", "max_tokens", "seed"), _is_number),
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), _is_number),
    "stop": _is_stop,
    "n": lambda value: _is_count(MAX_CHOICES)(value) and value > 0,
    "logprobs": lambda value: isinstance(value, bool),
    "top_logprobs": _is_count(MAX_LOGPROBS),
    "response_format": _is_format,
    "reasoning_effort": _is_effort,
}
"""Handed to the model as they are, where the check of each holds."""

KNOWN = (
    IGNORED
    | {"model", "messages", "stream", "stream_options", "max_completion_tokens"}
    | {"tools", "tool_choice", "parallel_tool_calls"}
    | set(PARAMETERS)
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
