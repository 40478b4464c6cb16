"""What the settings say of tools: which a client may offer, and what the rails for texts read of them."""

from dataclasses import replace

from safety_gateway.chat_request import ChatRequest
from safety_gateway.errors import BadRequestError
from safety_gateway.settings import ToolCalls

MAX_SHOWN = 64
"""Characters of a tool's name in an error."""


def apply_tool_rules(request: ChatRequest, rules: ToolCalls) -> ChatRequest:
    """The request under the rules. Raises BadRequestError where it uses tools that are not allowed."""
    if rules == ToolCalls():
        return request
    if not rules.enabled and _uses_tools(request):
        raise BadRequestError("tools are not available here", code="invalid_tools")
    allowed = request.tools.schemas if rules.allowed is None else rules.allowed
    for name in request.tools.schemas:
        if name not in allowed:
            shown = ascii(name[:MAX_SHOWN])[1:-1]
            raise BadRequestError(f"the tool {shown} is not allowed here", code="invalid_tools")
    tools = replace(request.tools, max_argument_bytes=rules.max_argument_bytes)
    return replace(request, tools=tools, check_results=rules.check_results)


def _uses_tools(request: ChatRequest) -> bool:
    called = any(item["role"] == "tool" or "tool_calls" in item for item in request.messages)
    return bool(request.tools.schemas) or called
