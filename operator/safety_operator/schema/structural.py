"""From pydantic's JSON Schema to the structural OpenAPI v3 subset that a CustomResourceDefinition takes.

Called with the spec and status model of a kind. Leaves the bounds to ``hack/codegen/checks.py``.
Decisions of this file, each for a reason that users see:

- Defaults stand in the CRD, so that ``kubectl get -o yaml`` shows what runs, but never inside list items or
  map values (Argo CD would show drift for ever); there the description names them instead.
- Empty defaults ([], {}, "") are left out: absent means the same to the operator and reads better.
- A status has no defaults: the operator is its only writer.
- A field that a rule asks for (``x-unset``) has its default in the description only.
- A pattern that has a message (``x-message``) becomes a CEL rule, as "should match '^...$'" helps nobody.
- Unknown fields are not refused by the schema, which could only say so by turning pruning off; kubectl's
  strict validation (its default) refuses them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from safety_records.numbers import exact

Schema = dict[str, Any]

INT32_MAX = 2**31 - 1
"""Largest value of OpenAPI's int32."""

_COPIED = (
    "enum",
    "format",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
)
_EXTENSIONS = (
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
)
_MESSAGE = "x-message"
_UNSET = "x-unset"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node stands: what it may refer to, and whether it may carry defaults."""

    definitions: Mapping[str, Schema]
    defaults: bool
    """False below list items and map values, and in a status."""
    tell_defaults: bool
    """True where a default is named in the description because the schema may not carry it."""


def structural_schema(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """The structural schema of a model; ``defaults=False`` for a status."""
    raw = model.model_json_schema(by_alias=True)
    place = _Place(raw.get("$defs", {}), defaults=defaults, tell_defaults=False)
    return _convert(raw, place)


def _convert(raw: Schema, place: _Place) -> Schema:
    node = _resolve(raw, place.definitions)
    schema: Schema = {}
    if "description" in node:
        schema["description"] = _describe(node, place)
    schema |= _type_of(node)
    schema |= {key: node[key] for key in _COPIED if key in node}
    schema |= _children(node, place)
    if place.defaults and "default" in node and _UNSET not in node:
        schema |= _default(node, schema, place.definitions)
    schema |= {key: node[key] for key in _EXTENSIONS if key in node}
    if schema.get("type") == "array":
        schema.setdefault("x-kubernetes-list-type", "atomic")
    rules = _rules(node)
    if rules:
        schema["x-kubernetes-validations"] = rules
        if _MESSAGE in node:
            schema.pop("pattern", None)
    return schema


def _resolve(raw: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Follow references and drop the null of an optional value; what stands nearer to the field wins."""
    node = raw
    while True:
        variants = [one for one in node.get("anyOf", []) if one.get("type") != "null"]
        rest = {key: value for key, value in node.items() if key not in {"anyOf", "$ref"}}
        if "$ref" in node:
            node = _merge(definitions[node["$ref"].rsplit("/", 1)[1]], rest)
        elif len(variants) == 1:
            node = _merge(variants[0], rest)
        else:
            return node


def _merge(base: Schema, nearer: Schema) -> Schema:
    merged = base | nearer
    rules = base.get("x-kubernetes-validations", []) + nearer.get("x-kubernetes-validations", [])
    return merged | ({"x-kubernetes-validations": rules} if rules else {})


def _type_of(node: Schema) -> Schema:
    """Type and format; a constant is an enum of one, int or string is Kubernetes' own extension."""
    if "anyOf" in node:
        kinds = sorted(one.get("type", "object") for one in node["anyOf"])
        if kinds != ["integer", "string"]:
            raise ValueError(f"only X | None and int | str can be expressed, not {node['anyOf']}")
        bounds = {k: one[k] for one in node["anyOf"] for k in ("maxLength",) if k in one}
        return {"x-kubernetes-int-or-string": True, "anyOf": [{"type": kind} for kind in kinds]} | bounds
    schema: Schema = {"type": node["type"]}
    if "const" in node:
        schema["enum"] = [node["const"]]
    if node["type"] == "integer":
        schema["format"] = "int32" if node.get("maximum", INT32_MAX + 1) <= INT32_MAX else "int64"
    return schema


def _children(node: Schema, place: _Place) -> Schema:
    inner = replace(place, defaults=False, tell_defaults=place.defaults or place.tell_defaults)
    children: Schema = {}
    if "properties" in node:
        children["properties"] = {name: _convert(raw, place) for name, raw in node["properties"].items()}
        if node.get("required"):
            children["required"] = sorted(node["required"])
    elif isinstance(node.get("additionalProperties"), dict):
        children["additionalProperties"] = _convert(node["additionalProperties"], inner)
    if "items" in node:
        children["items"] = _convert(node["items"], inner)
    return children


def _default(node: Schema, schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """The default, where it says something; an object's is what differs from its fields' own defaults."""
    value = node["default"]
    if isinstance(value, dict) and "properties" in node:
        own = {name: _resolve(raw, definitions).get("default") for name, raw in node["properties"].items()}
        value = {
            name: _text(given, schema["properties"][name])
            for name, given in value.items()
            if own[name] != given
        }
        inner = any("default" in child for child in schema["properties"].values())
        return {"default": value} if value or inner else {}
    if isinstance(value, list):
        value = [_item(item, schema["items"]) for item in value]
    return {} if value in _NOTHING else {"default": _text(value, schema)}


_NOTHING: tuple[Any, ...] = (None, "", [], {})


def _item(item: Any, schema: Schema) -> Any:
    """An item of a default list without empty fields: a null is no valid value of any."""
    if not isinstance(item, dict):
        return _text(item, schema)
    return {name: value for name, value in item.items() if value not in _NOTHING}


def _text(value: Any, schema: Schema) -> Any:
    """A default as a resource has it: a fraction is a decimal string there."""
    number = isinstance(value, float) and schema.get("type") == "string"
    return exact(value) if number else value


def _describe(node: Schema, place: _Place) -> str:
    text = " ".join(node["description"].split())
    value = node.get("default")
    told = place.tell_defaults or _UNSET in node
    if told and not isinstance(value, dict | list) and value not in (None, ""):
        text += f" Defaults to {json.dumps(_text(value, node))}."
    return text


def _rules(node: Schema) -> list[Schema]:
    """CEL rules of the class and the field, and the pattern where it has a message of its own."""
    rules: list[Schema] = list(node.get("x-kubernetes-validations", []))
    if _MESSAGE in node:
        if "pattern" not in node:
            raise ValueError(f"{_MESSAGE} without a pattern: {node[_MESSAGE]}")
        rules.append(
            {
                "rule": f"self.matches({_quote(node['pattern'])})",
                "message": node[_MESSAGE],
                # The API server itself would only say: Invalid value: "string".
                "messageExpression": f"{_quote(node[_MESSAGE] + ', not ')} + self",
            }
        )
    return rules


def _quote(text: str) -> str:
    """As a CEL string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
