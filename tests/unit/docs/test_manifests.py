"""Manifests of documentation and examples are what the CRDs take: whole ones, and fragments somewhere."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml
from tests.unit.docs.markdown import FENCE, REPO, Block, blocks, pages, read

from safety_operator.schema.rules import find_mistakes

GROUP = "modelsafety.dev/v1alpha1"
BLOCKS = [block for block in blocks("yaml") if not block.page.startswith("docs/reference/")]


@cache
def _schemas() -> dict[str, dict[str, Any]]:
    """By kind: the CRD's schema with unknown fields refused, as kubectl's strict validation does."""
    found = {}
    for path in (REPO / "crds").glob("*.yaml"):
        crd = yaml.safe_load(path.read_text(encoding="utf-8"))
        found[crd["spec"]["names"]["kind"]] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return {kind: _strict(schema) for kind, schema in found.items()}


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    strict = {key: _strict(value) for key, value in node.items()}
    closed = "properties" in node and "type" in node and "name" not in node["properties"].get("metadata", {})
    return strict | ({"additionalProperties": False} if closed else {})


def _faults(schema: dict[str, Any], value: Any) -> list[str]:
    found = jsonschema.Draft202012Validator(schema).iter_errors(value)
    return [f"{'.'.join(str(step) for step in error.path)}: {error.message[:200]}" for error in found]


class _Loader(yaml.SafeLoader):
    """Refuses keys that stand twice, of which PyYAML would drop one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        assert len(names) == len(set(names)), f"a key stands twice: {names}"
        return super().construct_mapping(node, deep=deep)


def _documents(block: Block) -> list[dict[str, Any]]:
    loaded = yaml.load_all(block.text, _Loader)
    return [document for document in loaded if document is not None]


EXAMPLES = [
    Block(str(path.relative_to(REPO)), "yaml", path.read_text(encoding="utf-8"))
    for path in sorted((REPO / "examples").rglob("*.yaml"))
]
WHOLE = [(b.page, d) for b in BLOCKS + EXAMPLES for d in _documents(b) if isinstance(d, dict) and "kind" in d]
FRAGMENTS = [(b.page, d) for b in BLOCKS for d in _documents(b) if not (isinstance(d, dict) and "kind" in d)]


@pytest.mark.parametrize(("page", "manifest"), WHOLE)
def test_whole_manifests_have_a_group_a_name_and_valid_fields(page: str, manifest: dict[str, Any]):
    assert manifest.get("apiVersion"), f"{page}: no apiVersion"
    if manifest["apiVersion"].startswith("modelsafety.dev"):
        assert manifest["apiVersion"] == GROUP
        assert manifest["metadata"]["name"]
        schema = _schemas()[manifest["kind"]]
        assert _faults(schema["properties"]["spec"], manifest["spec"]) == [], page
        assert find_mistakes(manifest) == [], page


def _places(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every object in a schema, without what it requires."""
    if "properties" in schema:
        yield schema | {"required": []}
    for child in schema.get("properties", {}).values():
        yield from _places(child)
    for child in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(child, dict):
            yield from _places(child)


@pytest.mark.parametrize(("page", "fragment"), FRAGMENTS)
def test_fragments_fit_somewhere_into_the_spec_of_a_kind(page: str, fragment: Any):
    assert isinstance(fragment, dict), f"{page}: a fragment is a map of fields: {fragment}"
    if _is_chart_values(fragment):
        assert _faults(_values_schema(), fragment) == [], page
        return
    places = [
        place
        for schema in _schemas().values()
        for place in _places(schema["properties"]["spec"])
        if set(fragment) <= set(place["properties"])
    ]
    assert places, f"{page}: no object of any kind has the fields {sorted(fragment)}"
    faults = [_faults(place, fragment) for place in places]
    assert [] in faults, f"{page}: {json.dumps(min(faults, key=len), indent=1)}"


@cache
def _chart_values() -> dict[str, Any]:
    text = (REPO / "charts/model-safety-operator/values.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def _is_chart_values(fragment: dict[str, Any]) -> bool:
    return set(fragment) <= set(_chart_values())


@cache
def _values_schema() -> dict[str, Any]:
    path = REPO / "charts/model-safety-operator/values.schema.json"
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


FIELD = re.compile(r"(?:spec\.|status\.)?([a-z][A-Za-z]*(?:\[\])?(?:\.[a-z][A-Za-z]*(?:\[\])?)+)(?=$|[: ])")
"""A path of fields, such as spec.pod.roles or onPolicy.refusal.template."""
NO_FIELDS = re.compile(
    r".*\.(html|json|jsonl|parquet|onnx|py|md|xml|sarif|safetensors|toml|yaml|sh|in)$|torch\.compile|configs\.cm|"
    r"data\.|security\.resilience|spec\.extraConfig|modelsafety\.dev"
)
"""What looks like one and is a file, a metric, or another program's."""
PROSE = [
    page
    for page in pages()
    if not re.search("reference/|experiments|CHANGELOG|design/README|^hack|^requirements", page)
]


@pytest.mark.parametrize("page", PROSE)
def test_fields_that_prose_names_exist_in_a_kind_or_in_the_chart(page: str):
    spans = {
        span for span in re.findall(r"`([^`\n]+)`", FENCE.sub("", read(page))) if not NO_FIELDS.match(span)
    }
    named = {match[1].replace("[]", "") for span in spans if (match := FIELD.match(span))}
    assert [name for name in sorted(named) if not _is_field(name.split("."))] == []


def _is_field(path: list[str]) -> bool:
    objects = [place for schema in _schemas().values() for place in _places(schema)]
    return any(_leads_somewhere(place, path) for place in objects) or _is_value(_chart_values(), path)


def _leads_somewhere(schema: dict[str, Any], path: list[str]) -> bool:
    """Whether a path of fields exists below an object; maps of free names end it."""
    if not path:
        return True
    if "items" in schema:
        return _leads_somewhere(schema["items"], path)
    if path[0] in schema.get("properties", {}):
        return _leads_somewhere(schema["properties"][path[0]], path[1:])
    return isinstance(schema.get("additionalProperties"), dict)


def _is_value(values: Any, path: list[str]) -> bool:
    if not path or values in ({}, [], None):
        return True
    return isinstance(values, dict) and path[0] in values and _is_value(values[path[0]], path[1:])
