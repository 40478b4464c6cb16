"""Whose an object is that has the name of a child: ours, without an owner, of an earlier resource, another's.

``cluster.apply`` asks before it writes: what is not ours is never overwritten. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from safety_operator.api import GROUP
from safety_operator.state.keys import Manifest, ObjectKey
from safety_operator.state.labels import LABEL_KIND, LABEL_MANAGED_BY, LABEL_NAME, MANAGED_BY
from safety_operator.state.reading import condition_of, items_of, parse_time, value_at

COLLECTED_SECONDS = 60
"""How long garbage collection may take before a person is asked to do its work."""
ADOPTED = frozenset(
    {
        *("Deployment", "Service", "ConfigMap", "NetworkPolicy", "Ingress", "HTTPRoute"),
        *("HorizontalPodAutoscaler", "ScaledObject", "PodDisruptionBudget"),
    }
)
"""Kinds that are taken over as they are: the next plan makes of them what they should be, or deletes them."""


class Standing(Enum):
    """What an object is to a resource."""

    OURS = auto()
    ORPHAN = auto()
    """Made for a resource of this kind and name, and owned by nobody: deleted with ``--cascade=orphan``."""
    LEFTOVER = auto()
    """Owned by an earlier resource of this kind and name, or being deleted: garbage collection takes it."""
    FOREIGN = auto()


@dataclass(frozen=True, slots=True)
class Obstacle:
    """An object that has the name of a child and is not ours to change."""

    child: ObjectKey
    why: str
    """What it is, as the end of a sentence."""
    foreign: bool = False
    """Whether it belongs to somebody else."""
    gone_by: datetime | None = None
    """When it should have gone by itself; None: a person has to act."""

    def is_stuck(self, now: datetime) -> bool:
        """Whether a person has to act."""
        return self.gone_by is None or self.gone_by <= now


def is_owned(child: Manifest, uid: str) -> bool:
    """Whether this very resource owns the child, not an earlier one of the same name."""
    return any(ref.get("uid") == uid for ref in _owners(child))


def standing_of(obj: Manifest, resource: Manifest) -> Standing:
    """What an object is to a resource."""
    meta = resource["metadata"]
    if is_owned(obj, meta["uid"]):
        return Standing.OURS
    if any(_is_earlier(ref, resource) for ref in _owners(obj)):
        return Standing.LEFTOVER
    if controller_of(obj) or not _is_labelled(obj, resource):
        return Standing.FOREIGN
    return Standing.LEFTOVER if value_at(obj, "metadata", "deletionTimestamp") else Standing.ORPHAN


def controller_of(obj: Manifest) -> str:
    """Kind and name of the controller that owns an object; empty where there is none."""
    found = next((ref for ref in _owners(obj) if ref.get("controller")), None)
    return f"{found.get('kind')} {found.get('name')}" if found else ""


def with_owner(obj: Manifest, resource: Manifest, owner: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that makes a resource the owner of an orphan; fails where the orphan has changed."""
    others = [ref for ref in _owners(obj) if not _is_earlier(ref, resource)]
    return {
        "metadata": {
            "resourceVersion": obj["metadata"]["resourceVersion"],
            "uid": obj["metadata"]["uid"],
            "ownerReferences": [*others, dict(owner)],
        }
    }


def is_over(job: Manifest) -> bool:
    """Whether a Job has come to its end."""
    return any(condition_of(job, type_).get("status") == "True" for type_ in ("Complete", "Failed"))


def obstacle_of(name: ObjectKey, obj: Manifest, resource: Manifest) -> Obstacle:
    """Why an object is in the way."""
    earlier = f"an earlier {resource['kind']} {resource['metadata']['name']}"
    match standing_of(obj, resource):
        case Standing.LEFTOVER:
            return Obstacle(name, _leftover(obj, earlier), gone_by=_gone_by(obj, resource))
        case Standing.ORPHAN if name.kind == "Job":
            return Obstacle(name, f"{earlier} left it, it still runs, and it works in another folder")
        case Standing.ORPHAN:
            return Obstacle(name, f"{earlier} left it, and the operator cannot read what is in it")
    controller = controller_of(obj)
    return Obstacle(name, f"it belongs to {controller}" if controller else "it is somebody else's", True)


def _leftover(obj: Manifest, earlier: str) -> str:
    finalizers = value_at(obj, "metadata", "finalizers", default=())
    if not value_at(obj, "metadata", "deletionTimestamp"):
        return f"it belongs to {earlier}, and garbage collection takes it away"
    held = f", and finalizers hold it: {', '.join(map(str, finalizers))}" if finalizers else ""
    return f"it is left of {earlier} and is being deleted{held}"


def _gone_by(obj: Manifest, resource: Manifest) -> datetime | None:
    times = (
        parse_time(value_at(found, "metadata", field))
        for found in (obj, resource)
        for field in ("creationTimestamp", "deletionTimestamp")
    )
    latest = max((time for time in times if time is not None), default=None)
    return latest + timedelta(seconds=COLLECTED_SECONDS) if latest is not None else None


def _owners(obj: Manifest) -> list[Mapping[str, Any]]:
    return items_of(value_at(obj, "metadata", "ownerReferences"))


def _is_earlier(ref: Mapping[str, Any], resource: Manifest) -> bool:
    """Whether an owner reference names an earlier resource of this kind and name."""
    meta = resource["metadata"]
    same = (ref.get("kind"), ref.get("name")) == (resource["kind"], meta["name"])
    group = str(ref.get("apiVersion", GROUP)).partition("/")[0]
    return same and group == GROUP and ref.get("uid") != meta["uid"]


def _is_labelled(obj: Manifest, resource: Manifest) -> bool:
    labels = value_at(obj, "metadata", "labels", default={})
    wanted = {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_KIND: resource["kind"],
        LABEL_NAME: resource["metadata"]["name"],
    }
    return all(labels.get(name) == value for name, value in wanted.items())
