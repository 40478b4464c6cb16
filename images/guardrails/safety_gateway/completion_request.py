"""``POST /v1/completions``: a prompt, which the rails read as what a user writes."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from safety_gateway.chat_request import ChatRequest, parse, read_body_request
from safety_gateway.errors import BadRequestError

NOT_IN_COMPLETIONS = frozenset(
    {"messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort"}
    | {"logprobs", "top_logprobs", "max_completion_tokens"}
)
"""Of chat only, or of another form here; ``suffix``, ``echo`` and ``best_of`` are known nowhere."""


def read_completion_request(data: bytes, served_name: str, refusals: Collection[str]) -> ChatRequest:
    """The request in a body; raises as :func:`safety_gateway.chat_request.read_request`."""
    body = parse(data)
    if not isinstance(body, dict):
        raise BadRequestError("the body has to be a JSON object", code="invalid_body")
    for name in NOT_IN_COMPLETIONS:
        if body.get(name) is not None:
            words = f"{name} is not available at /v1/completions"
            raise BadRequestError(words, code="unsupported_parameter")
    rest = {name: value for name, value in body.items() if name not in ("prompt", *NOT_IN_COMPLETIONS)}
    messages = [{"role": "user", "content": _prompt(body.get("prompt"))}]
    request = read_body_request(rest | {"messages": messages}, served_name, refusals)
    return replace(request, endpoint="completions")


def _prompt(value: Any) -> str:
    """The one prompt, as a text: rails cannot read tokens."""
    found = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(found, str):
        raise BadRequestError("prompt has to be a text, or a list of one", code="invalid_prompt")
    return found
