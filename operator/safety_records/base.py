"""The base of every record: strict, immutable, camelCase in JSON, snake_case in Python."""

from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

KUBERNETES: Final = {"form": "kubernetes"}
"""Context of validation and serialization for what stands in a resource: fractions are decimal strings."""


class Record(BaseModel):
    """A frozen value that refuses unknown fields, so that a version skew is seen at once.

    The value types that a resource and a stage both have are records too: the CRD embeds them, or both sides
    inherit the same fields and :func:`shared` passes them on.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """The same value, as nobody changes it: pydantic copies defaults whenever it validates."""
        return self

    def to_json(self) -> str:
        """Compact JSON with camelCase keys, without fields that are None."""
        return self.model_dump_json(by_alias=True, exclude_none=True)

    def to_record(self) -> dict[str, Any]:
        """The value of :meth:`to_json`."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_manifest(self, **options: Any) -> dict[str, Any]:
        """As it stands in a resource, without what is as good as absent: None and defaults.

        ``options`` as for ``model_dump``.
        """
        wanted: Mapping[str, Any] = {"exclude_none": True, "exclude_defaults": True} | options
        return self.model_dump(mode="json", by_alias=True, context=KUBERNETES, **wanted)


class Published(Record):
    """A part of a published document, in which an older reader passes over what a newer writer added."""

    model_config = ConfigDict(extra="ignore")

    @classmethod
    def from_text(cls, text: str | bytes) -> Self:
        """The document in a JSON text. Values that stages and resources have too are read as leniently.

        Raises
        ------
        pydantic.ValidationError
            If it is no such document.
        """
        return cls.model_validate_json(text, extra="ignore")


def shared(source: Record, base: type[Record]) -> dict[str, Any]:
    """The fields of a base that ``source`` has, as arguments for another class that has the same base."""
    return {name: getattr(source, name) for name in base.model_fields}
