"""What a class says to the CRD that embeds it: CEL rules, and the shape of strings. Ignored by workers."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue

Rule = tuple[str, str]
"""A CEL expression, and the message that says what to do where it does not hold."""

Shape = tuple[str, str, int]
"""A pattern, the message that says what to write instead, and the largest length in characters."""

UNSET: dict[str, JsonValue] = {"x-unset": True}
"""For ``json_schema_extra``: the CRD names the default in the description and does not fill it in, because a
rule asks whether the field is there."""

NAMED_LIST = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
"""For ``json_schema_extra`` of a list whose items have a name of their own."""

SET: dict[str, JsonValue] = {"x-kubernetes-list-type": "set"}
"""For ``json_schema_extra`` of a list of scalars that are there once."""


def config(*rules: Rule) -> ConfigDict:
    """Model configuration with CEL rules, which become ``x-kubernetes-validations``."""
    found: list[JsonValue] = [{"rule": rule, "message": message} for rule, message in rules]
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": found})


def shaped(pattern: str, message: str, max_length: int) -> Any:
    """Give the Field of a string of a certain shape.

    The API server answers with the message, which says what to write, instead of the pattern.
    """
    return Field(max_length=max_length, pattern=pattern, json_schema_extra={"x-message": message})


def shaped_if_given(pattern: str, message: str, max_length: int, **bounds: JsonValue) -> Any:
    """As :func:`shaped`, for a field that is empty where it is absent: only the CRD has the pattern."""
    shown: dict[str, JsonValue] = {"pattern": pattern, "x-message": message}
    return Field(max_length=max_length, json_schema_extra=shown | bounds)


def over_numbers(rule: str, *paths: str) -> str:
    """Give a CEL rule that reads decimal strings; it holds while one of them is absent or malformed."""
    guards = [f"!has({path}) || !{path}.matches('^[0-9.]+([eE]-?[0-9]+)?$')" for path in paths]
    return " || ".join([*guards, rule])


def over_signed(rule: str, *paths: str) -> str:
    """As :func:`over_numbers`, for numbers that may be negative."""
    guards = [f"!has({path}) || !{path}.matches('^-?[0-9]+([.][0-9]+)?$')" for path in paths]
    return " || ".join([*guards, rule])


Name = Annotated[
    str,
    shaped(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "write a name of lower-case letters, digits and '-' that starts and ends with a letter or digit",
        max_length=40,
    ),
]
"""Name of an entry inside a list: a lower-case DNS label of at most 40 characters."""
