"""The schema of a whole resource, metadata included, from its kind's row in ``safety_operator.api.kinds``."""

from functools import cache
from typing import Any

from safety_operator.api import GROUP, VERSION
from safety_operator.api.kinds import Kind
from safety_operator.schema.structural import Schema, structural_schema

MAX_NAME = 40
"""Characters of a resource's name: names of children add a role and a hash, and Kubernetes allows 63."""

NAME_RULES = [
    {
        "rule": f"self.metadata.name.size() <= {MAX_NAME}",
        "message": f"choose a metadata.name of at most {MAX_NAME} characters: "
        "Jobs and Services are named after it and may have 63",
    },
    {
        "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "message": "choose a metadata.name of lower-case letters, digits and '-' that starts with a letter: "
        "Services are named after it",
    },
]


@cache
def resource_schema(kind: Kind) -> Schema:
    """The structural schema of a kind's resources; not to be changed, it is made once."""
    rules = [*NAME_RULES, *({"rule": rule, "message": message} for rule, message in kind.rules)]
    properties: dict[str, Any] = {
        "apiVersion": {"description": f"{GROUP}/{VERSION}.", "type": "string"},
        "kind": {"description": f"{kind.kind}.", "type": "string"},
        # The name is bounded for the cost estimate of the rules above; they speak first.
        "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}},
        "spec": structural_schema(kind.spec),
        "status": structural_schema(kind.status, defaults=False),
    }
    return {
        "description": " ".join((kind.spec.__doc__ or "").split()),
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": rules,
        "properties": properties,
    }
