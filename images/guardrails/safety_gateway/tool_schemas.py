"""JSON schemas of tools: whether one is a schema, and whether a call's arguments fit it.

The schema comes from the client and the arguments from the model, so both checks have a bound of work. A
schema is not validated by that of the standard, which takes a millisecond for each field and compares all
items of a list with each other. Regular expressions are not carried out, since an evil one would stop the
process, nor another draft than 2020-12, whatever ``$schema`` a part names: its validator knows no bounds.
References lead by path (``#/$defs/day``): a name (``$id``, ``$anchor``) would be looked for in the whole
schema each time, and is not known here.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from referencing import Registry, Resource

MAX_CHECKS = 20_000
"""Keywords of a schema that are looked at for one call: about 0.1 s."""
NOT_CHECKED = ("pattern", "patternProperties", "unevaluatedProperties", "$dynamicRef")
"""Keywords that carry out expressions, or lead anywhere."""
TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


class TooMuchWorkError(Exception):
    """A check has come to its bound."""


def find_fault(schema: dict[str, Any], arguments: dict[str, Any]) -> str:
    """Why arguments do not fit a schema; empty if they do."""
    try:
        root: Any = Resource.opaque(schema)
        resolver = Registry().resolver_with_root(root)
        fits = _bounded_validator()(schema, registry=Registry(), _resolver=resolver).is_valid(arguments)
    except TooMuchWorkError:
        return "checking its arguments takes too long"
    except Exception:  # noqa: BLE001 - a reference into nothing, say; the text may hold anybody's words
        return "its schema cannot be used"
    return "" if fits else "its arguments do not fit the schema"


def _bounded_validator() -> Any:
    """A class of validators that gives up after MAX_CHECKS keywords."""
    left = MAX_CHECKS

    def counted(check: Callable[..., Iterator[ValidationError] | None]) -> Callable[..., Any]:
        def run(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
            nonlocal left
            left -= 1 + (len(value) if isinstance(value, list) else 0)
            if left < 0:
                raise TooMuchWorkError
            return check(validator, value, instance, schema)

        return run

    own = {"uniqueItems": _unique_items, "additionalProperties": _additional_properties}
    known = {**Draft202012Validator.VALIDATORS, **own}
    found: Any = extend(
        Draft202012Validator,
        {name: counted(check) for name, check in known.items() if name not in NOT_CHECKED}
        | dict.fromkeys(NOT_CHECKED, _passed_over),
    )
    # The library's own takes the class that a part's $schema names.
    found.evolve = attrs.evolve
    return found


def _passed_over(_validator: Any, _value: Any, _instance: Any, _schema: Any) -> Iterator[ValidationError]:
    return iter(())


def _additional_properties(
    validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    """As the library has it, but where it would look for names by expressions."""
    if "patternProperties" not in schema:
        yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, value, instance, schema)


def _unique_items(_validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """Linear: items are the same where their JSON is."""
    if value is True and isinstance(instance, list):
        found = {json.dumps(item, sort_keys=True) for item in instance}
        if len(found) < len(instance):
            yield ValidationError("an item is there twice")


def count_schemas(schema: Any, bound: int) -> int:
    """How many schemas a schema holds, itself included.

    Raises
    ------
    ValueError
        If it, or one in it, has a keyword with a value that the standard does not allow.
    TooMuchWorkError
        If there are more than ``bound``.
    """
    found = 0
    waiting = [schema]
    while waiting:
        found += 1
        if found > bound:
            raise TooMuchWorkError
        part = waiting.pop()
        if isinstance(part, bool):
            continue
        if not isinstance(part, dict):
            raise ValueError("no schema")  # noqa: TRY004 - a client's value
        for keyword, value in part.items():
            waiting += _parts(keyword, value)
    return found


def _parts(keyword: str, value: Any) -> list[Any]:
    """The schemas in a keyword's value. Raises ValueError if it may have no such value."""
    if keyword in ONE:
        return [value]
    if keyword in LISTS and isinstance(value, list) and value:
        return value
    if keyword in MAPS and isinstance(value, dict):
        return list(value.values())
    if keyword in LISTS | MAPS or not VALUES.get(keyword, _anything)(value):
        raise ValueError("no schema")
    return []


def _anything(_value: Any) -> bool:
    return True


def _is_type(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return 0 < len(names) <= len(TYPES) and all(isinstance(name, str) and name in TYPES for name in names)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and float(value).is_integer()


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


ONE = frozenset(
    {
        *("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else"),
        *("unevaluatedItems", "unevaluatedProperties", "contentSchema"),
    }
)
"""Keywords whose value is a schema."""
LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
VALUES: Mapping[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "enum": lambda value: isinstance(value, list),
    "required": _are_texts,
    "dependentRequired": lambda value: isinstance(value, dict) and all(map(_are_texts, value.values())),
    "multipleOf": lambda value: _is_number(value) and value > 0,
    **dict.fromkeys(("maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum"), _is_number),
    **dict.fromkeys(("maxLength", "minLength", "maxItems", "minItems"), _is_count),
    **dict.fromkeys(("maxProperties", "minProperties", "maxContains", "minContains"), _is_count),
    **dict.fromkeys(("uniqueItems", "deprecated", "readOnly", "writeOnly"), _is_flag),
    **dict.fromkeys(("$ref", "$id", "$schema", "$anchor", "$comment", "$dynamicRef"), _is_text),
    **dict.fromkeys(("pattern", "format", "title", "description"), _is_text),
}
"""What the values of other keywords have to be."""
