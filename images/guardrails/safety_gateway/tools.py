"""Tools of a request: what a client offers, and whether a call of the model's fits it.

A call that names no offered tool, or whose arguments are not what the tool's schema allows, is withheld: an
agent would carry it out.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from safety_gateway.errors import BadRequestError
from safety_gateway.tool_schemas import TooMuchWorkError, count_schemas, find_fault

MAX_TOOLS = 128
"""Tools of a request, as OpenAI has it."""
MAX_SCHEMAS = 10_000
"""Schemas in the parameters of all tools, such as those of single fields: about 50 ms."""
MAX_DEPTH = 64
"""Nesting of a tool's schema."""
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
CALL_ID = re.compile(r"(functions\.)?[A-Za-z0-9_-]{1,64}(:[0-9]{1,4})?")
"""Ids of calls. Templates print them and the rails do not read them: they must hold no sentence. OpenAI,
vLLM and LangChain make letters, digits, dashes and underscores; Kimi's are ``functions.NAME:0``."""
CHOICES = frozenset({"none", "auto", "required"})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool."""

    id: str
    name: str
    arguments: str
    """JSON, as the model wrote it."""

    def to_dict(self) -> dict[str, Any]:
        """In OpenAI's form."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class Tools:
    """What a client offers."""

    schemas: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Schema of the arguments, by name of the tool."""
    max_argument_bytes: int | None = None
    """Longest arguments of a call; None: the answer's own length is the bound."""

    def fault(self, call: ToolCall) -> str:
        """Why a call must not be handed on; empty if it may."""
        schema = self.schemas.get(call.name)
        if schema is None:
            return "no such tool was offered"
        if self.max_argument_bytes and len(call.arguments.encode(errors="replace")) > self.max_argument_bytes:
            return f"its arguments have more than {self.max_argument_bytes} bytes"
        try:
            arguments = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError):
            return "its arguments are no JSON"
        if not isinstance(arguments, dict):
            return "its arguments are no JSON object"
        return find_fault(schema, arguments)


def read_tools(value: Any) -> Tools:
    """The tools of a request. Raises BadRequestError if they are none."""
    if value is None:
        return Tools()
    if not isinstance(value, list) or len(value) > MAX_TOOLS:
        raise _invalid(f"tools has to be a list of at most {MAX_TOOLS}")
    schemas: dict[str, dict[str, Any]] = {}
    left = MAX_SCHEMAS
    for item in value:
        name, schema = _read_tool(item)
        if name in schemas:
            raise _invalid(f"tools holds {name} twice")
        schemas[name] = schema
        try:
            left -= count_schemas(schema, left)
        except TooMuchWorkError as error:
            raise _invalid(f"tools hold more than {MAX_SCHEMAS} schemas of values") from error
        except (ValueError, RecursionError) as error:
            raise _invalid(f"parameters of {name} are no JSON schema") from error
    return Tools(schemas)


def _read_tool(item: Any) -> tuple[str, dict[str, Any]]:
    function = item.get("function") if isinstance(item, dict) and item.get("type") == "function" else None
    if not isinstance(function, dict):
        raise _invalid("a tool has type function, and a field function")
    name, schema = function.get("name"), function.get("parameters")
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise _invalid("a tool's name has 1 to 64 letters, digits, dots, dashes and underscores")
    if schema is None:
        schema = {"type": "object", "properties": {}}
    if not isinstance(schema, dict) or _depth(schema) > MAX_DEPTH:
        raise _invalid(f"parameters of {name} have to be a JSON schema, at most {MAX_DEPTH} levels deep")
    return name, schema


def _depth(value: Any) -> int:
    """Levels of nesting, counted without recursion."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
    return depth


def read_tool_choice(value: Any, tools: Tools) -> Any:
    """Which tools the model may call. Raises BadRequestError if it is no choice among those offered."""
    if isinstance(value, str) and value in CHOICES:
        return value
    function = value.get("function") if isinstance(value, dict) and value.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or name not in tools.schemas:
        raise _invalid("tool_choice has to be none, auto, required, or one of the tools")
    return {"type": "function", "function": {"name": name}}


def read_call(item: Any) -> ToolCall:
    """A call of a tool in OpenAI's form. Raises TypeError, ValueError or LookupError if it is none."""
    function = item["function"]
    id_, name, arguments = item.get("id") or "", function["name"], function.get("arguments") or ""
    if not all(isinstance(text, str) for text in (id_, name, arguments)):
        raise TypeError("no call")
    if NAME.fullmatch(name) is None:
        raise ValueError("no name")
    return ToolCall(id_, name, arguments)


def good_id(given: str) -> str:
    """The id of a model's call, which its client sends again; one that would then be refused is replaced."""
    if not given or CALL_ID.fullmatch(given):
        return given
    return f"call_{hashlib.sha256(given.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


def _invalid(words: str) -> BadRequestError:
    return BadRequestError(words, code="invalid_tools")
