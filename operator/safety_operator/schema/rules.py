"""What the API server would refuse of a resource, found without one: the same rules, in the same words.

Called by ``kubectl safety render`` for every manifest, and by planning only where a resource that is older
than a rule cannot be planned: what is stored was checked when it was written.
"""

import copy
import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from safety_operator.api.kinds import KIND_BY_NAME
from safety_operator.schema.cel import evaluate
from safety_operator.schema.resource import resource_schema
from safety_operator.schema.structural import Schema
from safety_records.base import KUBERNETES

MAX_SHOWN = 3
"""Mistakes that a message names."""


class Mistake(NamedTuple):
    """A field that is wrong, and what to do about it."""

    field: str
    """Path such as spec.judges[0].model; empty for the resource itself."""
    message: str


def find_mistakes(resource: Mapping[str, Any]) -> list[Mistake]:
    """Everything that is wrong with a resource of one of the four kinds.

    As in the API server, rules are asked only where types, bounds and required fields are right.
    """
    kind = KIND_BY_NAME[str(resource["kind"])]
    try:
        kind.spec.model_validate_json(json.dumps(resource.get("spec")), strict=True, context=KUBERNETES)
    except ValidationError as error:
        found = spec_mistakes(error)
        found = [_with_guess(one, resource_schema(kind)) for one in found]
    else:
        found = []
    shapes = [one for one in found if one.message.startswith(_MISSHAPEN)]
    if found != shapes:
        return [one for one in found if one not in shapes]
    schema = resource_schema(kind)
    broken = list(_broken_rules(schema, with_defaults(schema, copy.deepcopy(dict(resource))), ""))
    return broken or shapes


_MISSHAPEN = "String should match pattern"
"""How pydantic begins what a rule says in better words."""


def spec_mistakes(error: ValidationError) -> list[Mistake]:
    """What pydantic found wrong with a spec."""
    found = error.errors(include_url=False, include_input=False)
    return [Mistake(_field(item["loc"]), _WORDS.get(item["type"], item["msg"])) for item in found]


_UNKNOWN = "unknown field"
_WORDS = {
    "extra_forbidden": _UNKNOWN,
    "missing": "required",
    "string_type": "must be a string: put a number in quotes",
}
"""By pydantic's type of error: the terms of Kubernetes, where its own are those of Python."""


def _with_guess(mistake: Mistake, schema: Schema) -> Mistake:
    """An unknown field with the field of this place that has nearly its name."""
    if mistake.message != _UNKNOWN:
        return mistake
    *path, name = mistake.field.split(".")
    for part in path:
        schema = schema.get("properties", {}).get(part.partition("[")[0], {})
        schema = schema.get("items", schema)
    (near, *_) = difflib.get_close_matches(name, schema.get("properties", ()), n=1) or ("",)
    return mistake._replace(message=f"{_UNKNOWN}; did you mean {near}?") if near else mistake


def describe_mistakes(mistakes: list[Mistake]) -> str:
    """The first mistakes in a sentence that ends with what to do; empty if there is none."""
    if not mistakes:
        return ""
    parts = [f"{one.field}: {one.message}" if one.field else one.message for one in mistakes[:MAX_SHOWN]]
    more = f" (and {len(mistakes) - MAX_SHOWN} more)" if len(mistakes) > MAX_SHOWN else ""
    return f"{'; '.join(parts)}{more}. Fix the spec."


def with_defaults(schema: Schema, value: Any) -> Any:
    """What the API server would store: the value with defaults filled in, from the outside to the inside."""
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    for name, child in schema["properties"].items():
        if value.get(name) is None:
            value.pop(name, None)
            if "default" in child:
                value[name] = copy.deepcopy(child["default"])
        if name in value:
            with_defaults(child, value[name])
    return value


def _broken_rules(schema: Schema, value: Any, path: str) -> Iterator[Mistake]:
    for rule in schema.get("x-kubernetes-validations", ()):
        if evaluate(rule["rule"], value) is not True:
            worded = rule.get("messageExpression")
            yield Mistake(path, evaluate(worded, value) if worded else rule["message"])
    if isinstance(value, list):
        yield from _doubles(schema, value, path)
    for child, inner, where in _inside(schema, value, path):
        yield from _broken_rules(child, inner, where)


def _doubles(schema: Schema, items: list[Any], path: str) -> Iterator[Mistake]:
    """Items that a list of unique ones has twice."""
    keys = schema.get("x-kubernetes-list-map-keys")
    if keys is None and schema.get("x-kubernetes-list-type") != "set":
        return
    names = [item if keys is None else {key: item.get(key) for key in keys} for item in items]
    for index, name in enumerate(names):
        if name in names[:index]:
            shown = json.dumps(name, separators=(",", ":"), sort_keys=True)
            yield Mistake(f"{path}[{index}]", f"Duplicate value: {shown}")


def _inside(schema: Schema, value: Any, path: str) -> Iterator[tuple[Schema, Any, str]]:
    """Schema, value and path of what an object or a list holds."""
    if isinstance(value, list):
        yield from ((schema["items"], item, f"{path}[{index}]") for index, item in enumerate(value))
    elif isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name, inner in value.items():
            child = known.get(name) or others
            if child:
                yield child, inner, f"{path}.{name}" if path else name


def _field(location: tuple[int | str, ...]) -> str:
    path = "spec"
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path
