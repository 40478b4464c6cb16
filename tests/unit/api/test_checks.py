"""What fails the generation."""

import pytest
from hack.codegen.checks import MAX_CRD_BYTES, Schema, findings
from hack.codegen.crd import applied_bytes, render_crd

TEXT = {"type": "string", "maxLength": 4, "description": "Text."}


def of(**properties: Schema) -> list[str]:
    return findings({"type": "object", "description": "All.", "properties": properties}, "spec")


def test_a_sound_schema_has_no_findings() -> None:
    assert of(name=TEXT, names={"type": "array", "maxItems": 2, "items": TEXT, "description": "Names."}) == []


@pytest.mark.parametrize(
    ("schema", "finding"),
    [
        ({"type": "string", "description": "x"}, "spec.a: is a string without a largest length"),
        ({"type": "array", "items": TEXT, "description": "x"}, "spec.a: is a list without a largest size"),
        (
            {"type": "object", "additionalProperties": TEXT, "description": "x"},
            "spec.a: is a map without a largest size",
        ),
        (
            {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "description": "x"},
            "spec.a: is a map without a largest size",
        ),
        (
            {"x-kubernetes-int-or-string": True, "description": "x"},
            "spec.a: is a string without a largest length",
        ),
        ({"type": "number", "description": "x"}, "spec.a: is a float; use an integer or a decimal string"),
        ({"type": "integer"}, "spec.a: has no description"),
        ({"type": "integer", "description": "x", "title": "A"}, "spec.a: title is not structural"),
        (
            {"type": "integer", "description": "x", "x-kubernetes-validations": [{"rule": "true"}]},
            "spec.a: the rule true has no message",
        ),
        (
            {
                "type": "array",
                "maxItems": 1,
                "description": "x",
                "items": {"type": "object", "properties": {"b": TEXT | {"default": "y"}}},
            },
            "spec.a[]: has defaults inside list items or map values",
        ),
    ],
)
def test_an_unsound_schema_is_found(schema: Schema, finding: str) -> None:
    assert of(a=schema) == [finding]


def test_a_field_that_yaml_reads_as_a_boolean_is_found() -> None:
    assert of(on=TEXT) == ["spec.on: has a name that YAML reads as a boolean"]


def test_a_schema_is_as_large_as_the_annotation_in_which_kubectl_keeps_it() -> None:
    assert applied_bytes({"rule": "a < b && ü"}) == len('{"rule":"a \\u003c b \\u0026\\u0026 ü"}'.encode())
    text = "x" * MAX_CRD_BYTES
    with pytest.raises(ValueError, match="is the end"):
        render_crd({"metadata": {"name": "large"}, "spec": text})
