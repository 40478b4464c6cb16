"""Tools of a request: what a client offers, and whether a call of the model's fits it.

A call that names no offered tool, or whose arguments are not what the tool's schema allows, is withheld: an
agent would carry it out. The schema comes from the client and the arguments from the model, so that a check
has a bound of work. Regular expressions (``pattern``, ``patternProperties``) are not carried out, since an
evil one would stop the process.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import SchemaError
from jsonschema.validators import extend
from referencing import Registry

from safety_gateway.errors import BadRequestError

MAX_TOOLS = 128
"""Tools of a request, as OpenAI has it."""
MAX_CHECKS = 20_000
"""Keywords of a schema that are looked at for one call: about 0.1 s."""
MAX_DEPTH = 64
"""Nesting of a tool's schema."""
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
CALL_ID = re.compile(r"(functions\.)?[A-Za-z0-9_-]{1,64}(:[0-9]{1,4})?")
"""Ids of calls. Templates print them and the rails do not read them: they must hold no sentence. OpenAI,
vLLM and LangChain make letters, digits, dashes and underscores; Kimi's are ``functions.NAME:0``."""
CHOICES = frozenset({"none", "auto", "required"})
NOT_CHECKED = ("pattern", "patternProperties", "$dynamicRef")


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
        return _fault(schema, arguments)


def _fault(schema: dict[str, Any], arguments: dict[str, Any]) -> str:
    try:
        fits = _bounded_validator()(schema, registry=Registry()).is_valid(arguments)
    except _TooMuchWorkError:
        return "checking its arguments takes too long"
    except Exception:  # noqa: BLE001 - a reference into nothing, say; the text may hold anybody's words
        return "its schema cannot be used"
    return "" if fits else "its arguments do not fit the schema"


class _TooMuchWorkError(Exception):
    """A check has come to its bound."""


def _bounded_validator() -> Any:
    """A class of validators that gives up after MAX_CHECKS keywords."""
    left = MAX_CHECKS

    def counted(check: Callable[..., Iterator[ValidationError] | None]) -> Callable[..., Any]:
        def run(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
            nonlocal left
            left -= 1 + (len(value) if isinstance(value, list) else 0)
            if left < 0:
                raise _TooMuchWorkError
            return check(validator, value, instance, schema)

        return run

    known = Draft202012Validator.VALIDATORS
    return extend(
        Draft202012Validator,
        {name: counted(check) for name, check in known.items() if name not in NOT_CHECKED}
        | dict.fromkeys(NOT_CHECKED, _passed_over),
    )


def _passed_over(_validator: Any, _value: Any, _instance: Any, _schema: Any) -> Iterator[ValidationError]:
    return iter(())


def read_tools(value: Any) -> Tools:
    """The tools of a request. Raises BadRequestError if they are none."""
    if value is None:
        return Tools()
    if not isinstance(value, list) or len(value) > MAX_TOOLS:
        raise _invalid(f"tools has to be a list of at most {MAX_TOOLS}")
    schemas: dict[str, dict[str, Any]] = {}
    for item in value:
        name, schema = _read_tool(item)
        if name in schemas:
            raise _invalid(f"tools holds {name} twice")
        schemas[name] = schema
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
    try:
        _bounded_validator().check_schema(schema)
    except (SchemaError, RecursionError) as error:
        raise _invalid(f"parameters of {name} are no JSON schema") from error
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
