"""The base of every model of a spec or status, and what names other objects."""

from typing import Annotated

from pydantic import ConfigDict, Field

from safety_records.base import Record
from safety_records.schema import shaped


class ApiModel(Record):
    """Part of a spec or status that no worker reads; each field has its description in a ``Field``."""

    model_config = ConfigDict(use_attribute_docstrings=False)


ObjectName = Annotated[
    str,
    shaped(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "name an object of this namespace: lower-case letters, digits, '-' and '.'",
        max_length=253,
    ),
]
"""Name of a Kubernetes object in the same namespace."""


class SecretKeyRef(ApiModel):
    """One key of a Secret of the same namespace."""

    name: ObjectName = Field(description="Name of a Secret of this namespace.")
    key: Annotated[str, Field(min_length=1, max_length=253)] = Field(description="Key whose value is used.")
