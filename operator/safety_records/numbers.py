"""Fractions: floats in Python and in what workers read and write, decimal strings in a resource.

A CRD has no floats: two programs may write the same one in different ways. So the schema for validation, from
which CRDs are made, says string, and the schema for serialization, which is published for reports, number.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from safety_records.base import KUBERNETES
from safety_records.schema import Shape

LARGE = 1e15
"""From here on numbers are written with an exponent: a field of a status holds 24 characters."""
MAX_STATUS = 24
"""Characters of a number in a status."""

DECIMAL: Shape = (
    r"^[0-9]+(\.[0-9]+)?([eE]-?[0-9]{1,2})?$",
    'write a decimal number as a string, such as "0.95" or "5e-7"',
    24,
)
SIGNED: Shape = (
    r"^-?[0-9]+(\.[0-9]+)?$",
    'write a decimal number as a string, such as "0.25" or "-0.1"',
    24,
)
FRACTION: Shape = (
    r"^(0(\.[0-9]+)?|1(\.0+)?)$",
    'write a number from 0 to 1 as a string, such as "0.95"',
    12,
)


def decimal(value: float | None, digits: int = 4) -> str:
    """A number with so many decimals at most, without trailing zeros; empty for None."""
    if value is None or not math.isfinite(value):
        return ""
    if abs(value) >= LARGE:
        return f"{value:.4e}"
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def small_decimal(value: float | None) -> str:
    """A probability such as 0.0312 or 1.2e-09: three significant digits below a thousandth."""
    if value is None:
        return ""
    return decimal(value) if value == 0 or abs(value) >= 1e-3 else f"{value:.2e}"  # noqa: PLR2004


def exact(value: float) -> str:
    """The shortest text that is read as the same number."""
    return repr(value).removesuffix(".0").replace("e+", "e").replace("e-0", "e-")


def exact_digits(value: float) -> str:
    """As :func:`exact`, without an exponent."""
    return f"{Decimal(repr(value)):f}".removesuffix(".0")


@dataclass(frozen=True, slots=True)
class InResource:
    """How a float stands in a resource."""

    write: Callable[[float], str]
    shape: Shape | None = None
    """None: in a status, which nobody but the operator writes."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_before_validator_function(
            self._read,
            handler(source),
            serialization=core_schema.plain_serializer_function_ser_schema(self._write, info_arg=True),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        if handler.mode == "serialization":
            return handler({key: value for key, value in schema.items() if key != "serialization"})
        if self.shape is None:
            return {"type": "string", "maxLength": MAX_STATUS}
        pattern, message, longest = self.shape
        return {"type": "string", "maxLength": longest, "pattern": pattern, "x-message": message}

    def _read(self, value: Any, info: ValidationInfo) -> Any:
        """A number; in a resource only from a string that the API server takes, and in its words."""
        if info.context != KUBERNETES or self.shape is None:
            return value
        if not isinstance(value, str):
            raise PydanticKnownError("string_type")
        if not re.search(self.shape[0], value):
            raise PydanticKnownError("string_pattern_mismatch", {"pattern": self.shape[0]})
        return float(value)

    def _write(self, value: float, info: core_schema.SerializationInfo) -> float | str:
        return self.write(value) if info.context == KUBERNETES else value


Fraction = Annotated[float, Field(ge=0, le=1), InResource(exact_digits, FRACTION)]
"""From 0 to 1."""
NonNegative = Annotated[float, Field(ge=0), InResource(exact, DECIMAL)]
"""0 or more."""
Real = Annotated[float, InResource(exact_digits, SIGNED)]
"""Of any sign."""
Measured = Annotated[float, InResource(decimal)]
"""A result: four decimals in a status, all of them in a report."""
Probability = Annotated[float, InResource(small_decimal)]
"""A result that may be very small: three significant digits in a status."""
