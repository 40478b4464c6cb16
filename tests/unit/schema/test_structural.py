"""From models to structural schemas, one decision at a time."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from safety_operator.api.common import ApiModel
from safety_operator.schema.structural import structural_schema
from safety_records.numbers import Fraction
from safety_records.schema import UNSET, config, shaped

Short = Annotated[str, Field(max_length=8)]


class Inner(ApiModel):
    """What is inside."""

    level: Annotated[int, Field(ge=1, le=9)] = Field(default=3, description="How deep.")
    word: Short = Field(default="", description="A word.")


class Required(ApiModel):
    """With a field that must be there."""

    model_config = config(("self.name != 'x'", "choose another name than x"))
    name: Short = Field(description="A name.")


class Outer(ApiModel):
    """The whole."""

    inner: Inner = Field(default=Inner(), description="The inside.")
    other: Inner = Field(default=Inner(level=5), description="Another inside.")
    maybe: Required | None = Field(default=None, description="Perhaps.")
    items: Annotated[list[Inner], Field(max_length=4)] = Field(default=[], description="Several.")
    words: Annotated[dict[str, Short], Field(max_length=4)] = Field(default={}, description="By name.")
    quantity: int | Short = Field(default="1", description="A quantity.")
    only: Literal["a"] = Field(default="a", description="A constant.")
    large: Annotated[int, Field(ge=0)] = Field(default=0, description="A large number.")
    anything: Annotated[
        dict[str, Any], Field(max_length=4, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
    ] = Field(default={}, description="Passed through.")
    rate: Fraction = Field(default=0.25, description="A rate.")
    depth: int = Field(default=16, description="A depth.", json_schema_extra=UNSET)
    span: Annotated[str, shaped(r"^[0-9]+'s\.$", "write seconds", max_length=8)] | None = Field(
        default=None, description="A span."
    )


@pytest.fixture(scope="module")
def properties() -> dict[str, Any]:
    return dict(structural_schema(Outer)["properties"])


def test_a_reference_is_inlined_with_the_description_of_the_field(properties: dict[str, Any]) -> None:
    assert properties["inner"]["description"] == "The inside."
    assert properties["inner"]["properties"]["level"]["default"] == 3
    assert "title" not in properties["inner"]


def test_an_optional_field_is_neither_required_nor_nullable(properties: dict[str, Any]) -> None:
    assert "required" not in structural_schema(Outer)
    assert properties["maybe"]["type"] == "object"
    assert properties["maybe"]["required"] == ["name"]
    assert "nullable" not in properties["maybe"]


def test_a_fraction_is_a_string_and_so_is_its_default(properties: dict[str, Any]) -> None:
    assert (properties["rate"]["type"], properties["rate"]["default"]) == ("string", "0.25")


def test_a_default_that_a_rule_must_not_see_is_told_and_not_set(properties: dict[str, Any]) -> None:
    assert "default" not in properties["depth"]
    assert properties["depth"]["description"] == "A depth. Defaults to 16."


def test_an_object_defaults_to_nothing_so_that_its_fields_default_themselves(
    properties: dict[str, Any],
) -> None:
    assert properties["inner"]["default"] == {}


def test_an_object_whose_default_differs_from_its_fields_keeps_the_difference(
    properties: dict[str, Any],
) -> None:
    assert properties["other"]["default"] == {"level": 5}


def test_defaults_below_list_items_are_told_and_not_set(properties: dict[str, Any]) -> None:
    level = properties["items"]["items"]["properties"]["level"]
    assert "default" not in level
    assert level["description"] == "How deep. Defaults to 3."


def test_empty_defaults_are_left_out(properties: dict[str, Any]) -> None:
    assert "default" not in properties["inner"]["properties"]["word"]
    assert "default" not in properties["items"]
    assert properties["large"]["default"] == 0


def test_a_status_has_no_defaults_at_all() -> None:
    assert "default" not in str(structural_schema(Outer, defaults=False))


def test_a_number_or_a_string_is_kubernetes_own_type(properties: dict[str, Any]) -> None:
    quantity = properties["quantity"]
    assert quantity["x-kubernetes-int-or-string"] is True
    assert "type" not in quantity
    assert quantity["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    assert quantity["maxLength"] == 8


def test_a_constant_is_an_enum_of_one(properties: dict[str, Any]) -> None:
    assert properties["only"]["enum"] == ["a"]
    assert properties["only"]["type"] == "string"


def test_integers_say_how_large_they_may_be(properties: dict[str, Any]) -> None:
    assert properties["inner"]["properties"]["level"]["format"] == "int32"
    assert properties["large"]["format"] == "int64"


def test_a_map_is_bounded_and_has_no_properties(properties: dict[str, Any]) -> None:
    assert properties["words"]["maxProperties"] == 4
    assert properties["words"]["additionalProperties"] == {"type": "string", "maxLength": 8}


def test_what_is_passed_through_keeps_unknown_fields(properties: dict[str, Any]) -> None:
    assert properties["anything"]["x-kubernetes-preserve-unknown-fields"] is True
    assert "additionalProperties" not in properties["anything"]


def test_objects_do_not_forbid_other_fields_because_pruning_is_on(properties: dict[str, Any]) -> None:
    assert "additionalProperties" not in properties["inner"]


def test_lists_say_how_they_merge(properties: dict[str, Any]) -> None:
    assert properties["items"]["x-kubernetes-list-type"] == "atomic"


def test_rules_of_a_class_stand_where_it_is_used(properties: dict[str, Any]) -> None:
    assert properties["maybe"]["x-kubernetes-validations"] == [
        {"rule": "self.name != 'x'", "message": "choose another name than x"}
    ]


def test_a_pattern_with_a_message_becomes_a_rule_that_shows_the_value(properties: dict[str, Any]) -> None:
    assert "pattern" not in properties["span"]
    assert properties["span"]["x-kubernetes-validations"] == [
        {
            "rule": "self.matches('^[0-9]+\\'s\\\\.$')",
            "message": "write seconds",
            "messageExpression": "'write seconds, not ' + self",
        }
    ]


def test_a_union_that_kubernetes_cannot_express_is_refused() -> None:
    class Odd(ApiModel):
        """Odd."""

        either: Inner | Required = Field(description="One or the other.")

    with pytest.raises(ValueError, match=r"only X \| None and int \| str"):
        structural_schema(Odd)


def test_a_default_list_of_objects_holds_no_nulls() -> None:
    class Pair(ApiModel):
        """A pair."""

        name: Short = Field(description="A name.")
        maybe: Short | None = Field(default=None, description="Perhaps.")

    class Holder(ApiModel):
        """Holds."""

        pairs: Annotated[list[Pair], Field(max_length=2)] = Field(
            default=[Pair(name="a")], description="Pairs."
        )

    assert structural_schema(Holder)["properties"]["pairs"]["default"] == [{"name": "a"}]
