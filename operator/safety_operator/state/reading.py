"""Reading Kubernetes objects without stumbling: whatever is absent or odd gives the default."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from safety_operator.state.keys import RUN_KINDS, Manifest, ObjectKey
from safety_operator.state.labels import LABEL_ROLE
from safety_operator.state.observed import Observed
from safety_records.result import StageResult

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def value_at(value: Any, *path: str, default: Any = None) -> Any:
    """The value at a path of keys, or the default where anything on the way is missing or None."""
    for key in path:
        if not isinstance(value, Mapping):
            return default
        value = value.get(key)
    return default if value is None else value


def status_of(resource: Manifest | None) -> Mapping[str, Any]:
    """A resource's status; empty where there is none."""
    found = value_at(resource, "status", default={})
    return found if isinstance(found, Mapping) else {}


def items_of(value: Any) -> list[Mapping[str, Any]]:
    """The mappings of a list; anything else is left out."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def condition_of(resource: Manifest | None, type_: str) -> Mapping[str, Any]:
    """A condition by type; empty where there is none."""
    for item in items_of(value_at(resource, "status", "conditions")):
        if item.get("type") == type_:
            return item
    return {}


def is_true(resource: Manifest | None, type_: str) -> bool:
    """Whether a condition of a child is True."""
    return condition_of(resource, type_).get("status") == "True"


def integer(value: Any, default: int = 0) -> int:
    """An integer, also from a string."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return default


def generation_of(resource: Manifest) -> int:
    """metadata.generation, 0 where absent."""
    return max(0, integer(value_at(resource, "metadata", "generation")))


def annotation(resource: Manifest, name: str) -> str:
    """An annotation, empty where absent."""
    return str(value_at(resource, "metadata", "annotations", name, default=""))


def digest_at(value: Any, *path: str) -> str:
    """A digest at a path of keys, empty where there is none."""
    return known_digest(value_at(value, *path))


def known_digest(text: Any) -> str:
    """A digest as it stands, empty for anything else."""
    return text if isinstance(text, str) and _DIGEST.fullmatch(text) else ""


def parse_time(value: Any) -> datetime | None:
    """A Kubernetes time, None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def format_time(moment: datetime) -> str:
    """As Kubernetes writes times: whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def children_of_role(observed: Observed, kind: str, role: str) -> Iterator[tuple[ObjectKey, Manifest]]:
    """Children of a kind and a role, in the order of their names."""
    for key in sorted(observed.children):
        child = observed.children[key]
        if key.kind == kind and value_at(child, "metadata", "labels", LABEL_ROLE) == role:
            yield key, child


def runs_of_role(observed: Observed, role: str) -> Iterator[tuple[ObjectKey, Manifest]]:
    """Jobs and RayJobs of a role."""
    for kind in RUN_KINDS:
        yield from children_of_role(observed, kind, role)


def is_terminating(manifest: Manifest) -> bool:
    """Whether the object is being deleted."""
    return bool(value_at(manifest, "metadata", "deletionTimestamp"))


def parse_message(text: str) -> StageResult | None:
    """A stage's record in a termination message, None for anything else, such as a log's last lines."""
    try:
        return StageResult.model_validate_json(text)
    except ValidationError:
        return None
