"""Fractions: numbers in Python and in records, decimal strings in a resource."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from safety_records.base import KUBERNETES, Record, shared
from safety_records.numbers import (
    DECIMAL,
    FRACTION,
    LARGE,
    SIGNED,
    Fraction,
    Measured,
    NonNegative,
    Probability,
    Real,
    exact,
)
from safety_records.sampling import Nucleus
from safety_records.schema import Shape


class Wanted(Record):
    share: Fraction = 0.5
    """A share."""
    rate: NonNegative = 0.0
    shift: Real | None = None
    nucleus: Nucleus | None = None


class Found(Record):
    value: Measured | None = None
    chance: Probability | None = None
    rows: int = Field(ge=0)


def test_a_resource_says_fractions_as_strings_and_a_record_as_numbers() -> None:
    wanted = Wanted.model_validate({"share": "0.95", "rate": "5e-7", "shift": "-0.1"}, context=KUBERNETES)
    assert (wanted.share, wanted.rate, wanted.shift) == (0.95, 5e-7, -0.1)
    assert wanted.to_manifest() == {"share": "0.95", "rate": "5e-7", "shift": "-0.1"}
    assert json.loads(wanted.to_json()) == {"share": 0.95, "rate": 5e-7, "shift": -0.1}


def test_a_result_is_short_in_a_status_and_whole_in_a_record() -> None:
    found = Found(value=1 / 3, chance=1.23456e-9, rows=7)
    assert found.to_manifest() == {"value": "0.3333", "chance": "1.23e-09", "rows": 7}
    assert Found.model_validate_json(found.to_json()) == found


@pytest.mark.parametrize("said", [0.5, 1, "1.5", "half", "", None])
def test_what_the_api_server_refuses_a_resource_may_not_say(said: object) -> None:
    with pytest.raises(ValidationError, match=r"valid string|match pattern"):
        Wanted.model_validate({"share": said}, context=KUBERNETES)


def test_a_share_above_one_is_refused_in_a_record_too() -> None:
    with pytest.raises(ValidationError):
        Wanted(share=1.5)


def test_the_schema_of_a_resource_says_string_and_that_of_a_report_number() -> None:
    types = {
        mode: Wanted.model_json_schema(mode=mode)["properties"]["share"]["type"]
        for mode in ("validation", "serialization")
    }
    assert types == {"validation": "string", "serialization": "number"}


@given(st.floats(0, 1))
def test_what_is_written_into_a_resource_is_read_as_the_same_number(value: float) -> None:
    assert float(exact(value)) == value


@pytest.mark.parametrize(
    ("field", "shape"), [("share", FRACTION), ("rate", DECIMAL), ("shift", SIGNED), ("nucleus", FRACTION)]
)
@given(data=st.data())
def test_what_is_written_into_a_resource_the_api_server_takes(
    field: str, shape: Shape, data: st.DataObject
) -> None:
    texts = st.from_regex(shape[0], fullmatch=True, alphabet=st.characters(codec="ascii"))
    given_text = data.draw(texts.filter(lambda text: len(text) <= shape[2] and float(text) < LARGE))
    written = Wanted.model_validate({field: given_text}, context=KUBERNETES).to_manifest().get(field, "0")
    assert re.search(shape[0], written)
    assert len(written) <= shape[2]


def test_fields_of_a_common_base_are_passed_on() -> None:
    class Base(Record):
        rows: int
        seed: int = 42

    class Asked(Base):
        name: str

    assert shared(Asked(name="a", rows=3), Base) == {"rows": 3, "seed": 42}
