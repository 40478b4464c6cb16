"""What should exist: all that a planner may decide."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safety_operator.state.keys import Manifest, ObjectKey


@dataclass(frozen=True, slots=True)
class Child:
    """An object that should exist."""

    manifest: Manifest
    create_only: bool = False
    """True: made once and never updated (Jobs, generated Secrets)."""
    secret_key: str = ""
    """Secrets only, with create_only: ``cluster.apply`` puts 32 random bytes, as URL-safe text, under this
    key of ``stringData`` when it creates the object. A planner is pure and cannot draw them."""


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes event on the resource; emitted when its (reason, message) is new."""

    type: str
    """Normal or Warning."""
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be done, in the order apply, delete, status, events."""

    status: Mapping[str, Any]
    """The whole wanted status; patched only where it differs. Transition times are the planner's."""
    apply: tuple[Child, ...] = ()
    delete: tuple[ObjectKey, ...] = ()
    events: tuple[Event, ...] = ()
    outside: Manifest | None = None
    """A Job that should exist in the operator's namespace for probes."""
    outside_over: tuple[Manifest, ...] = ()
    """Jobs there that nobody needs any more."""
    requeue_after: float | None = None
    """Seconds until the next look even if nothing happens; None: only on a change."""
