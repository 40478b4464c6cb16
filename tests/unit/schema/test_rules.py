"""Rules without an API server: the manifests of tests/integration are refused in the same words."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.manifests import MANIFESTS, Wrong, wrong_manifests

from safety_operator.api.kinds import KIND_BY_NAME, KINDS
from safety_operator.schema import rules
from safety_operator.schema.cel import evaluate
from safety_operator.schema.resource import resource_schema
from safety_operator.schema.rules import Mistake, describe_mistakes, find_mistakes
from safety_operator.schema.structural import Schema

REPO = MANIFESTS.parents[2]
RIGHT = [
    *MANIFESTS.glob("right/*.yaml"),
    *MANIFESTS.glob("smallest/*.yaml"),
    *REPO.glob("examples/**/*.yaml"),
]
WRONG = [
    wrong
    for wrong in wrong_manifests()
    if "already set in map" not in wrong.expected and wrong.case != "a learning rate as a float"
]
"""Without what PyYAML does not see: it takes the last of two keys, and 2e-5 for a word."""
STRUCTURAL = re.compile("in body|Required value|Unsupported value|unknown field|Invalid value: [0-9]")
"""In answers about types, bounds and unknown fields, which pydantic words otherwise."""
PREFIX = re.compile(r'Invalid value: "(object|string|array)": |unknown time zone \S+ evaluating rule: ')
"""What the API server puts before a rule's message."""


def said(mistakes: list[Mistake]) -> list[str]:
    return [f"{mistake.field}: {mistake.message}" for mistake in mistakes]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.kind}: {wrong.case}")
def test_a_wrong_manifest_is_told_what_the_api_server_says(wrong: Wrong) -> None:
    found = find_mistakes(yaml.safe_load(wrong.manifest))
    expected = PREFIX.sub("", wrong.expected)
    if STRUCTURAL.search(expected):
        assert any(mistake.field in expected for mistake in found), said(found)
    else:
        assert any(expected in text or text in expected for text in said(found)), said(found)


@pytest.mark.parametrize("path", RIGHT, ids=lambda path: str(path.relative_to(REPO)))
def test_a_right_manifest_has_no_mistakes(path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        if manifest and manifest["kind"] in KIND_BY_NAME:
            assert find_mistakes(manifest) == []


def rules_of(schema: Schema) -> Iterator[str]:
    yield from (rule["rule"] for rule in schema.get("x-kubernetes-validations", []))
    others = schema.get("additionalProperties")
    inner = [*schema.get("properties", {}).values(), schema.get("items"), others]
    for child in inner:
        if isinstance(child, dict):
            yield from rules_of(child)


def test_every_rule_has_a_manifest_that_breaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = set()

    def watch(expression: str, value: Any) -> Any:
        result = evaluate(expression, value)
        broken.update([] if result is True else [expression])
        return result

    monkeypatch.setattr(rules, "evaluate", watch)
    for wrong in WRONG:
        find_mistakes(yaml.safe_load(wrong.manifest))
    known = {rule for kind in KINDS for rule in rules_of(resource_schema(kind))}
    assert known - broken == set()


def test_a_message_names_the_first_mistakes_and_counts_the_others() -> None:
    mistakes = [Mistake("spec.a", "say it"), Mistake("", "name it"), *[Mistake("spec.b", "x")] * 3]
    assert describe_mistakes(mistakes) == "spec.a: say it; name it; spec.b: x (and 2 more). Fix the spec."
    assert describe_mistakes([]) == ""


def test_types_and_bounds_come_before_rules() -> None:
    wrong = {"kind": "SafetyFinetune", "metadata": {"name": "UPPER"}, "spec": {"model": {}, "data": 7}}
    assert [mistake.field for mistake in find_mistakes(wrong)] == ["spec.data"]
