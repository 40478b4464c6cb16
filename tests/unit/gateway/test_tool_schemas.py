"""Schemas of tools come from clients: a check of one has a bound of work, and carries no expression out."""

import json
import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from tests.unit.gateway.test_chat_request import read, refused
from tests.unit.gateway.test_tools import fault, tool

from safety_gateway.errors import BadRequestError
from safety_gateway.tools import read_tools

NOT_LONG = 10
"""Seconds; without the bounds minutes or more."""
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
EVIL = {"$schema": DRAFT_7, "pattern": "^(a+)+$"}
TARGET = "a" * 40 + "!"


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"x": EVIL}},
        {"$schema": DRAFT_7, "properties": {"x": {"allOf": [EVIL]}}},
        {"properties": {"x": {"$ref": "#/$defs/x"}}, "$defs": {"x": EVIL}},
        {"properties": {"x": {"$ref": "#/properties/y/const"}, "y": {"const": EVIL}}},
    ],
)
def test_no_draft_that_a_part_names_carries_out_expressions(schema: dict[str, Any]):
    begun = time.perf_counter()
    assert fault(json.dumps({"x": TARGET}), schema) == ""
    assert time.perf_counter() - begun < NOT_LONG


@pytest.mark.parametrize("keyword", ["additionalProperties", "unevaluatedProperties"])
def test_names_are_looked_for_by_no_expression(keyword: str):
    evil = {"patternProperties": {"^(a+)+$": {}}, keyword: False}
    begun = time.perf_counter()
    assert fault(json.dumps({TARGET: 1}), evil) == ""
    assert time.perf_counter() - begun < NOT_LONG


def test_many_items_are_compared_in_time_proportional_to_them():
    items = [{"a": number} for number in range(20_000)]
    schema = {"properties": {"x": {"uniqueItems": True}}}
    begun = time.perf_counter()
    assert fault(json.dumps({"x": items}), schema) == ""
    assert fault(json.dumps({"x": [*items, {"a": 7}]}), schema) == "its arguments do not fit the schema"
    assert time.perf_counter() - begun < NOT_LONG


@pytest.mark.parametrize(
    ("named", "reference"), [({"$anchor": "x"}, "#x"), ({"$id": "http://a/x"}, "http://a/x")]
)
def test_names_in_a_large_schema_are_not_looked_for(named: dict[str, Any], reference: str):
    others = {f"d{n}": {key: f"{value}{n}" for key, value in named.items()} for n in range(3000)}
    schema = {"$defs": others | {"x": named}, "items": {"$ref": reference}}
    begun = time.perf_counter()
    found = fault(json.dumps({"x": ["a"] * 3000}), {"properties": {"x": schema}})
    assert found == "its schema cannot be used"
    assert time.perf_counter() - begun < NOT_LONG


def test_paths_lead_through_a_schema_with_names():
    schema = {"$id": "http://a/", "$anchor": "x", "$defs": {"y": {"type": "integer"}}}
    schema["properties"] = {"y": {"items": {"$ref": "#/$defs/y"}}}
    assert fault('{"y": [1]}', schema) == ""
    assert fault('{"y": ["1"]}', schema) == "its arguments do not fit the schema"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": [{"a": number} for number in range(20_000)]},
        {"properties": {f"p{number}": {"type": "string"} for number in range(20_000)}},
        {"anyOf": [{"anyOf": [{}] * 200}] * 200},
    ],
)
def test_a_large_schema_is_refused_at_once(schema: dict[str, Any]):
    begun = time.perf_counter()
    assert refused(tools=[tool(parameters=schema)]) == (400, "invalid_tools")
    assert time.perf_counter() - begun < NOT_LONG


def test_all_tools_together_have_a_bound_of_schemas():
    schema = {"properties": {f"p{number}": {} for number in range(100)}}
    tools = [tool(f"t{number}", parameters=schema) for number in range(100)]
    assert refused(tools=tools) == (400, "invalid_tools")
    assert len(read(tools=tools[:99]).tools.schemas) == 99


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"type": []},
        {"properties": ["a"]},
        {"properties": {"a": 1}},
        {"items": [{}]},
        {"anyOf": []},
        {"required": "a"},
        {"required": [1]},
        {"minLength": -1},
        {"maxItems": 1.5},
        {"maximum": "1"},
        {"multipleOf": 0},
        {"uniqueItems": 1},
        {"$ref": 1},
        {"dependentRequired": {"a": "b"}},
        {"enum": "a"},
        {"properties": {"a": {"not": {"if": {"pattern": 1}}}}},
    ],
)
def test_what_the_standard_does_not_allow_is_no_schema(schema: dict[str, Any]):
    with pytest.raises(SchemaError):
        Draft202012Validator.check_schema(schema)
    assert refused(tools=[tool(parameters=schema)]) == (400, "invalid_tools")


def test_a_number_beyond_all_is_no_count():
    with pytest.raises(BadRequestError):
        read_tools([tool(parameters={"minLength": json.loads("1e999")})])


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": DRAFT_7, "$id": "urn:x", "title": "t", "x-more": [1], "default": 1, "examples": [1]},
        {"type": ["string", "null"], "enum": ["a", None], "const": "a", "format": "date", "minLength": 2.0},
        {"additionalProperties": False, "items": True, "unevaluatedItems": {}, "$defs": {"a": {}}},
    ],
)
def test_what_the_standard_allows_is_a_schema(schema: dict[str, Any]):
    Draft202012Validator.check_schema(schema)
    assert read(tools=[tool(parameters=schema)]).tools.schemas
