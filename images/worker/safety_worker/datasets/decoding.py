"""JSON and YAML to values, such that a value that nobody asks for spoils no record.

Keys that stand twice in an object with different values, and numbers that are too long, are found out where
they are used, not where they stand.
"""

import json
import re
from typing import Any, ClassVar

import yaml

from safety_worker.datasets.cells import BadCell
from safety_worker.text import has_lone_surrogates

MAX_DIGITS = 4000
"""Longer whole numbers are read as floats, as most languages read all: Python refuses them."""

TWICE = BadCell("stands there twice, with different values")


def merged(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """An object of keys and values; a key that stands there twice has a value only if both are the same."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    first: dict[Any, Any] = {}
    for key, value in pairs:
        if repr(first.setdefault(key, value)) != repr(
            value
        ):  # NaN is the same as NaN here, and 1 not as true
            found[key] = TWICE
    return found


def has_surrogates_in(value: Any) -> bool:
    """Whether a text anywhere in a value of JSON holds lone surrogates."""
    if isinstance(value, str):
        return has_lone_surrogates(value)
    items = [*value, *value.values()] if isinstance(value, dict) else value
    return isinstance(items, list) and any(map(has_surrogates_in, items))


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=merged, parse_int=_whole_number)


def load_json(text: str) -> Any:
    """The value of a JSON text.

    Raises
    ------
    ValueError
        If it is none.
    RecursionError
        If it is nested too deeply.
    """
    return _DECODER.decode(text)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.2's plain values (its core schema): ``no``, ``12:30``, ``007`` and ``2024-01-01`` are texts."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def construct_mapping(self, node: yaml.MappingNode, *, deep: bool = False) -> dict[Any, Any]:
        """Do not let the last of two equal keys win without a word."""
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if len(found) < len(node.value):
            pairs = [
                (self.construct_object(key, deep=True), self.construct_object(value, deep=True))
                for key, value in node.value
            ]
            found |= {key: value for key, value in merged(pairs).items() if value is TWICE}
        return found


for _tag, _pattern, _first in (
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", rf"[-+]?(?:0|[1-9][0-9]{{0,{MAX_DIGITS}}})", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.inf|\.Inf)|\.nan|\.NaN",
        "-+.0123456789",
    ),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", "<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


_Loader.add_multi_constructor("", lambda *_: BadCell("has a tag of YAML that is not read"))


def load_yaml(content: bytes) -> Any:
    """The value in a YAML text, by the library's fast parser where it has one.

    Aliases are refused: some lines of them can stand for more than any memory holds.

    Raises
    ------
    yaml.YAMLError
        If it is no YAML, or has aliases.
    UnicodeDecodeError
        If it is not UTF-8.
    """
    content.decode()  # the library's own words for it name no encoding
    if b"*" in content:
        for event in yaml.parse(content, _Loader):
            if isinstance(event, yaml.AliasEvent):
                where = f"line {event.start_mark.line + 1}: " if event.start_mark else ""
                raise yaml.YAMLError(f"{where}aliases are not read; write out what they stand for")
    return yaml.load(content, _Loader)  # noqa: S506 - derived from the safe one
