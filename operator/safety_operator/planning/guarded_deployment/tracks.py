"""The two tracks of a guarded model: which one has the requests, and what is on the other.

With ``rollout.strategy: BlueGreen`` a version that differs in any pod template comes up on the track that has
no requests, is proven there, and is then what the endpoint's Service leads to. The Service says which track
is live, the status which proofs were good and which version failed. Requests change over, and pods are taken
away, only for what is in the status already, so that an operator that ends at any moment decides the same
again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from safety_operator.api.guarded_rollout import FailedVersion, RolloutStatus, Track, TrackVersion
from safety_operator.children.metadata import canonical_hash
from safety_operator.children.service import pods_service_name
from safety_operator.planning.guarded_deployment.deployment_parts import (
    GuardedRun,
    Parts,
    retry_of,
    status_before,
)
from safety_operator.planning.guarded_deployment.model_children import model_server
from safety_operator.planning.guarded_deployment.rails_children import rails_server
from safety_operator.planning.guarded_deployment.roles import MODEL_ROLE, RAILS_ROLE
from safety_operator.planning.guarded_deployment.rollouts import (
    GUARD,
    Rollout,
    asked_of_others,
    furthest_behind,
    rollout_of,
    rollouts_of,
)
from safety_operator.planning.guarded_deployment.target import Target
from safety_operator.planning.guarded_deployment.track_children import tracked_children
from safety_operator.state.keys import Manifest, ObjectKey
from safety_operator.state.labels import LABEL_INSTANCE, LABEL_ROLE, LABEL_TEMPLATE
from safety_operator.state.reading import generation_of, is_terminating, parse_time, value_at

BLUE_GREEN = "BlueGreen"
DRAIN = timedelta(seconds=30)
"""How long pods stay when requests have changed over: proxies and gateways learn of it one after another."""
POLICY = "NetworkPolicy"
KINDS = frozenset(
    {"Deployment", "Service", "HorizontalPodAutoscaler", "ScaledObject", "PodDisruptionBudget", POLICY}
)
"""Of what each track has its own."""
OTHER: dict[Track, Track] = {"blue": "green", "green": "blue"}


@dataclass(frozen=True, slots=True)
class Tracks:
    """Which track has the requests, and what is to come of it."""

    live: Parts
    """The track that the endpoint's Service leads to, as the spec wants it."""
    version: str = ""
    """Hash of the version that the spec asks for, on the other track; empty: it is, or may be, live."""
    holds: bool = False
    """Whether the live track stays as it is, whatever the spec says."""
    waits: bool = False
    """Whether nothing can be decided about another version now, so that one that came up stays."""
    drains: bool = False
    """Whether another version waits for requests that may still come to what is on its track."""
    failed: FailedVersion | None = None
    """The version of the spec, where it failed."""
    back: bool = False
    """Whether that is the live one, and the version before is there to take over again."""
    kept: FailedVersion | None = None
    """A record that stays in the status: nothing is in service, and this version must not be put there."""
    stops: bool = False
    """Whether nothing may be served: the model in service regressed, and the way back failed its proof."""

    @property
    def other(self) -> Parts:
        """The track without requests of the Service."""
        return replace(self.live, track=OTHER[self.live.track], candidate=True, held=False)


def live_track(run: GuardedRun) -> Track:
    """By the endpoint's Service; where there is none, by the status."""
    blue = Parts(run)
    service = run.observed.children.get(ObjectKey("Service", blue.endpoint_name))
    known = status_before(run).rollout
    if service is None:
        return known.live.track if known else "blue"
    instance = value_at(service, "spec", "selector", LABEL_INSTANCE)
    return "green" if instance == replace(blue, track="green").name(RAILS_ROLE) else "blue"


def find_tracks(live: Parts, target: Target | None) -> Tracks:
    """What the live track is to be, and whether another version is to come up on the other.

    Parameters
    ----------
    live
        The live track, with the configuration that the spec asks for.
    target
        What the model server is to be; None: what is there stays.
    """
    run = live.run
    if run.spec.rollout.strategy != BLUE_GREEN:
        return Tracks(live)
    if run.spec.suspend:
        return Tracks(live, failed=_last_failed(run))
    if not _serves(live):
        return _without_live(live, target, _last_failed(run))
    return _with_live(live, target)


def _with_live(live: Parts, target: Target | None) -> Tracks:
    held = replace(live, held=True)
    if target is None or not live.key_uid:
        return Tracks(held, holds=True, waits=True)
    if target.replicas == 0:
        return Tracks(live)
    if is_told(live, target):
        failed = _failed(live, version_of(live, target))
        back = failed is not None and _can_go_back(live, target)
        return Tracks(live, failed=failed, back=back, stops=bool(failed and target.why) and not back)
    found = Tracks(held, holds=True)
    version = version_of(found.other, target)
    failed = _failed(found.other, version)
    if failed and target.why and live.rolled_model() != target.model.digest:
        return Tracks(live, failed=failed, stops=True)
    if failed:
        return replace(found, failed=failed)
    drains = _may_get_requests(found.other) and told_version(found.other) != version
    return replace(found, drains=drains, version="" if drains else version)


def _may_get_requests(other: Parts) -> bool:
    """Whether the track has a share of the requests, or lost them so recently that some may still come."""
    known = status_before(other.run).rollout
    shared = known is not None and known.candidate is not None and known.candidate.weight > 0
    return (shared or is_draining(other.run, known)) and not is_empty(other)


def _without_live(live: Parts, target: Target | None, failed: FailedVersion | None) -> Tracks:
    """Where nothing is in service the version of the spec takes its place, unless it was a candidate.

    One that was not proven when all pods went is proven at its preview first, and so is ``failed``.
    It is tried again when somebody asks for it, at its preview as ever: not in place.
    """
    known = status_before(live.run).rollout
    candidate = known.candidate if known else None
    if (failed is None and candidate is None) or (target is not None and target.replicas == 0):
        return Tracks(live)
    if target is None or not live.key_uid:
        return Tracks(live, holds=True, waits=True, kept=failed)
    found = Tracks(live, holds=True, kept=failed)
    version = version_of(found.other, target)
    if candidate is not None and (candidate.track, candidate.version) == (found.other.track, version):
        return replace(found, version=version)
    if failed is None or _may_serve(live, target, failed):
        return Tracks(live)
    if not _asked_again(live.run, failed):
        return Tracks(live, holds=True, failed=failed)
    return replace(found, version=version)


def _may_serve(live: Parts, target: Target, failed: FailedVersion) -> bool:
    """Whether the spec asks for another version than the one that failed, or what is there is that one."""
    tried = version_of(replace(live, track=failed.track), target)
    return tried != failed.version or (_is_there(live) and is_told(live, target))


def _serves(live: Parts) -> bool:
    """Whether there is a version that was in service, and whose Deployments are there."""
    served = status_before(live.run).served
    return bool(served and served.model_digest) and _is_there(live)


def _is_there(parts: Parts) -> bool:
    there = [parts.deployment(role) for role in (MODEL_ROLE, RAILS_ROLE)]
    return all(item is not None and not is_terminating(item) for item in there)


def _last_failed(run: GuardedRun) -> FailedVersion | None:
    known = status_before(run).rollout
    return known.failed if known else None


def _failed(parts: Parts, version: str) -> FailedVersion | None:
    """The record that a version failed, and that nobody asked for it again."""
    failed = _last_failed(parts.run)
    same = failed is not None and (failed.track, failed.version) == (parts.track, version)
    return failed if failed and same and not _asked_again(parts.run, failed) else None


def _asked_again(run: GuardedRun, failed: FailedVersion) -> bool:
    """Whether the spec, or the annotation for this, has changed since a version failed."""
    return (failed.generation, failed.retry) != (generation_of(run.observed.resource), retry_of(run))


def _can_go_back(live: Parts, target: Target) -> bool:
    """Whether the pods of the version before are there and answer, and are not what regressed."""
    known = status_before(live.run).rollout
    previous = known.previous if known else None
    other = Tracks(live).other
    if previous is None or previous.track != other.track or previous.version != told_version(other):
        return False
    if target.why and previous.model_digest != target.model.digest:
        return False
    return all(item.answers for item in rollouts_of(other).values())


def there_on(parts: Parts, *, held: bool) -> dict[str, Rollout]:
    """How the Deployments of the live track are; ``held``: with the guards that it has, not the spec's.

    Those it has also while the spec's are not all known.
    """
    found = rollouts_of(parts)
    if not (held or parts.lacks_guards):
        return found
    found.pop(GUARD, None)
    own = (item for key, item in _own(parts) if key.kind == "Deployment")
    roles = (str(value_at(item, "metadata", "labels", LABEL_ROLE)) for item in own)
    guards = [
        rollout_of(parts, role, f"the {role}") for role in roles if role not in {MODEL_ROLE, RAILS_ROLE}
    ]
    return found | furthest_behind([*guards, *asked_of_others(parts)])


def servers_of(parts: Parts, target: Target) -> list[Manifest]:
    """The Deployments of a track as they are to be."""
    children = (*tracked_children(parts), model_server(parts, target.model), rails_server(parts))
    return [child.manifest for child in children if child.manifest["kind"] == "Deployment"]


def version_of(parts: Parts, target: Target) -> str:
    """Hash of what a track is to run."""
    return _hash(target.model.digest, servers_of(parts, target))


def told_version(parts: Parts) -> str:
    """Hash of what a track's Deployments are told to run."""
    mine = (child for key, child in _own(parts) if key.kind == "Deployment")
    return _hash(parts.rolled_model(), list(mine))


def is_told(parts: Parts, target: Target) -> bool:
    """Whether a track's Deployments are told to be what they are to be."""
    return told_version(parts) == version_of(parts, target)


def _hash(digest: str, servers: Sequence[Manifest]) -> str:
    path = ("spec", "template", "metadata", "labels", LABEL_TEMPLATE)
    return canonical_hash([digest, *sorted(str(value_at(item, *path, default="")) for item in servers)])


def _own(parts: Parts) -> Iterator[tuple[ObjectKey, Manifest]]:
    """What a track has of its own."""
    for key, child in sorted(parts.run.observed.children.items()):
        role = str(value_at(child, "metadata", "labels", LABEL_ROLE, default=""))
        name = parts.name(role)
        mine = key.name in {name, pods_service_name(name)} and key.name != parts.endpoint_name
        if key.kind == POLICY:
            mine = value_at(child, "spec", "podSelector", "matchLabels", LABEL_INSTANCE) == name
        if key.kind in KINDS and mine:
            yield key, child


def unneeded(parts: Parts) -> tuple[ObjectKey, ...]:
    """What is to be taken away of a track that has no requests: guardrails first, then what they ask.

    Pods of the guardrails end when all answers that they have begun are over. Policies go last of all: no pod
    is ever without, and none lacks what it needs.
    """
    mine = [key for key, _ in _own(parts)]
    servers = {key.name for key in mine if key.kind == "Deployment"}
    roles = {str(value_at(item, "metadata", "labels", LABEL_ROLE)) for key, item in _own(parts)}
    if servers or parts.run.observed.with_pods & {parts.name(role) for role in roles}:
        mine = [key for key in mine if key.kind != POLICY]
    rails = ObjectKey("Deployment", parts.name(RAILS_ROLE))
    if rails in parts.run.observed.children or rails.name in parts.run.observed.with_pods:
        return tuple(key for key in mine if key.name == rails.name and key.kind != "Service")
    return tuple(mine)


def has_no_pods(parts: Parts) -> bool:
    """Whether a track has no model server, or one that was told to have no pods."""
    child = parts.deployment(MODEL_ROLE)
    return child is None or is_terminating(child) or value_at(child, "spec", "replicas") == 0


def is_empty(parts: Parts) -> bool:
    """Whether nothing of a track is there."""
    return next(_own(parts), None) is None


def told(parts: Parts) -> TrackVersion:
    """What a track's Deployments are told to be, for the status."""
    return TrackVersion(
        track=parts.track,
        model_digest=parts.rolled_model(),
        config_hash=parts.rolled_config(),
        version=told_version(parts),
    )


def is_draining(run: GuardedRun, known: RolloutStatus | None) -> bool:
    """Whether requests changed over so recently that some may still get to where they went before."""
    at = parse_time(known.switched_at) if known else None
    return at is not None and run.now < at + DRAIN
