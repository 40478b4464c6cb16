"""Models and CRDs agree: what the API server stores the operator can read, and means the same by it."""

import copy
import re
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
import yaml
from hack.codegen.crd import build_crd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safety_operator.api.kinds import KINDS, Kind
from safety_operator.schema.rules import with_defaults

REPO = Path(__file__).parents[3]
Schema = dict[str, Any]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
ASCII = st.characters(codec="ascii", min_codepoint=32, max_codepoint=126)
MATCHES = re.compile(r"^self\.matches\('\^(.*)\$'\)$")


@cache
def spec_schema(plural: str) -> Schema:
    kind = next(kind for kind in KINDS if kind.plural == plural)
    root = build_crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema: Schema = root["properties"]["spec"]
    return schema


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that a structural schema allows; rules over several fields are not looked at."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.one_of(st.integers(0, 64), st.sampled_from(["1", "500m", "6Gi"]))
    return {"boolean": booleans, "integer": integers, "string": strings, "array": arrays, "object": objects}[
        schema["type"]
    ](schema)


def booleans(_: Schema) -> st.SearchStrategy[bool]:
    return st.booleans()


def integers(schema: Schema) -> st.SearchStrategy[int]:
    return st.integers(schema.get("minimum", -(2**31)), schema.get("maximum", 2**31))


def arrays(schema: Schema) -> st.SearchStrategy[list[Any]]:
    return st.lists(values(schema["items"]), min_size=schema.get("minItems", 0), max_size=2)


def strings(schema: Schema) -> st.SearchStrategy[str]:
    longest = schema["maxLength"]
    for rule in schema.get("x-kubernetes-validations", []):
        if matched := MATCHES.match(rule["rule"]):
            pattern = matched[1].replace("\\\\", "\\").replace("\\'", "'")
            found = st.from_regex(f"(?:{pattern})", fullmatch=True, alphabet=ASCII)
            return found.filter(lambda text: len(text) <= longest)
    return st.text(ASCII, min_size=schema.get("minLength", 0), max_size=min(longest, 12))


def objects(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    if "additionalProperties" in schema:
        least = schema.get("minProperties", 0)
        return st.dictionaries(
            st.sampled_from(["a", "b"]), values(schema["additionalProperties"]), min_size=least
        )
    if "properties" not in schema:
        return st.just({"anything": [1]})
    fields = {name: values(child) for name, child in schema["properties"].items()}
    required = set(schema.get("required", []))
    optional = {name: found for name, found in fields.items() if name not in required}
    return st.fixed_dictionaries({name: fields[name] for name in required}, optional=optional)


@cache
def spec_values(plural: str) -> st.SearchStrategy[Any]:
    return values(spec_schema(plural))


@every_kind
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_the_schema_allows_the_model_reads_and_writes_back(kind: Kind, data: st.DataObject) -> None:
    schema = spec_schema(kind.plural)
    spec = data.draw(spec_values(kind.plural))
    model = kind.spec.model_validate(spec)
    assert kind.spec.model_validate(with_defaults(schema, copy.deepcopy(spec))) == model, "defaults differ"
    written = model.to_manifest()
    fastjsonschema.validate(_as_json_schema(schema), written, use_default=False, use_formats=False)


@every_kind
def test_the_smallest_manifest_means_the_same_with_the_schemas_defaults(kind: Kind) -> None:
    path = REPO / f"tests/data/manifests/smallest/{kind.plural}.yaml"
    spec = yaml.safe_load(path.read_text())["spec"]
    stored = with_defaults(spec_schema(kind.plural), copy.deepcopy(spec))
    assert stored != spec
    assert kind.spec.model_validate(stored) == kind.spec.model_validate(spec)


@every_kind
def test_what_the_schema_requires_the_model_requires(kind: Kind) -> None:
    required = {field.alias for field in kind.spec.model_fields.values() if field.is_required()}
    assert set(spec_schema(kind.plural).get("required", [])) == required


def _as_json_schema(schema: Any) -> Any:
    """With unknown fields as errors, as strict validation has them."""
    if isinstance(schema, list):
        return [_as_json_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    converted = {key: _as_json_schema(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        converted["additionalProperties"] = False
    return converted
