"""Carries out the part of a plan that concerns children: apply what is wanted, delete what is not.

Builders give complete manifests with labels, hash and owner reference. Requests are sent only where the live
object is not what is wanted (``drift``).
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from safety_operator.children.metadata import owner_of, owner_reference
from safety_operator.children.stage_spec import SPEC_ROLE
from safety_operator.cluster.client import Api, JsonObject
from safety_operator.cluster.drift import Mark, is_current, is_subset, mark_of, wanted_hash
from safety_operator.cluster.informer import trim
from safety_operator.cluster.kinds import ALL
from safety_operator.cluster.ownership import (
    ADOPTED,
    Obstacle,
    Standing,
    is_over,
    obstacle_of,
    standing_of,
    with_owner,
)
from safety_operator.cluster.store import Store
from safety_operator.errors import ApiError, ConflictError, ForbiddenError, InvalidError, NotFoundError
from safety_operator.state.keys import Key, Manifest, ObjectKey
from safety_operator.state.labels import LABEL_ROLE
from safety_operator.state.observed import Observed
from safety_operator.state.plan import Child, Plan
from safety_operator.state.reading import is_terminating, value_at

log = logging.getLogger(__name__)

GENERATED_BYTES = 32
"""Random bytes of a generated Secret: as strong as the AES-256 that hides it."""


REPLICAS_MANAGER = "model-safety-operator-replicas"
"""Field manager of the number of pods while an autoscaler decides on it and has not changed it yet."""
POSTED_FIRST = frozenset({"NetworkPolicy"})
"""Kinds made by a plain POST, which costs the API server half of an apply and comes back three times sooner;
every run needs one at once. Later changes are applied: all lists and selectors of these kinds are replaced
whole, so nothing stays behind that the POST owned."""


@dataclass(frozen=True, slots=True)
class RefusedChild:
    """The API server refused a child; nothing will change until the spec or the cluster's rules do."""

    child: ObjectKey
    message: str
    retryable: bool
    """True for quotas and admission policies, which may change without the spec."""
    waits: bool = False
    """Whether it may end without a person: a webhook does not answer."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying did."""

    writes: int = 0
    refusals: tuple[RefusedChild, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()


class Applier:
    """Applies plans; remembers what it made."""

    def __init__(self, api: Api, store: Store) -> None:
        self._api = api
        self._store = store
        self._marks: dict[Key, dict[ObjectKey, Mark]] = {}

    def forget(self, key: Key) -> None:
        """Drop the memory of a resource that is gone."""
        self._marks.pop(key, None)

    def vanished(self, key: Key, observed: Observed, plan: Plan) -> bool:
        """Whether the plan makes again what this process made before: the resource itself may be gone."""
        marks = self._marks.get(key, {})
        return any(_name(child) in marks and _name(child) not in observed.children for child in plan.apply)

    def orphans(self, key: Key) -> tuple[ObjectKey, ...]:
        """Give what was made for a resource of this kind and name, is owned by nobody, and can be adopted."""
        resource = self._store.resources[key]
        return tuple(
            name
            for name, obj in self._store.children.get(key, {}).items()
            if name.kind in ADOPTED
            and value_at(obj, "metadata", "labels", LABEL_ROLE) != SPEC_ROLE
            and standing_of(obj, resource) is Standing.ORPHAN
        )

    async def adopt(self, key: Key, orphans: Iterable[ObjectKey]) -> None:
        """Make the resource the owner of orphans.

        The plan then sees it as a child. Jobs are judged when one of their name is wanted, Secrets never, and
        specifications stay with the Jobs that read them.
        """
        resource = self._store.resources[key]
        reference = owner_reference(owner_of(resource))
        for name in orphans:
            obj = self._store.children.get(key, {}).get(name)
            if obj is None:
                continue
            patch = with_owner(obj, resource, reference)
            try:
                live = await self._api.patch(ALL[name.kind], key.namespace, name.name, patch)
            except ApiError as error:
                # Who refuses this refuses the write of the child too, and is told then.
                if isinstance(error, NotFoundError | ConflictError) or _is_refusal(error):
                    continue
                raise
            log.info("adopted", extra={"key": "/".join(key), "child": "/".join(name)})
            self._store.learn_child(key, name.kind, trim(name.kind, live))

    async def carry_out(self, key: Key, observed: Observed, plan: Plan) -> Applied:
        """Apply and delete children; they refer to each other by name only, so in no order.

        Raises InfrastructureError; what is refused is in the outcome, the rest is done all the same.
        """
        wanted = set(map(_name, plan.apply))
        # Only of what is wanted: each run of a schedule has Jobs of its own.
        marks = {name: mark for name, mark in self._marks.get(key, {}).items() if name in wanted}
        self._marks[key] = marks
        due = [child for child in plan.apply if not self._is_done(child, observed, marks)]
        made = await asyncio.gather(
            *(self._make(key, child, observed, marks) for child in due), return_exceptions=True
        )
        refusals, obstacles = _sort(map(_name, due), made)
        pods = self._store.pods.get(key, {})
        live = dict(observed.children) | {ObjectKey("Pod", name): pod for name, pod in pods.items()}
        # What finalizers hold is deleted already, and asking again changes nothing.
        deleted = [name for name in plan.delete if name in live and not is_terminating(live[name])]
        gone = await asyncio.gather(
            *(self._delete(key, name, live[name]) for name in deleted), return_exceptions=True
        )
        refusals += _sort(deleted, gone)[0]
        obstacles += self._left_servers(key, observed.resource, obstacles)
        return Applied(len(due) + len(deleted), tuple(refusals), tuple(obstacles))

    def _left_servers(self, key: Key, resource: Manifest, known: Sequence[Obstacle]) -> Iterator[Obstacle]:
        """Deployments of an earlier resource that nobody takes away: they go on serving."""
        named = {obstacle.child for obstacle in known}
        for name, obj in self._store.children.get(key, {}).items():
            left = name.kind == "Deployment" and standing_of(obj, resource) is Standing.LEFTOVER
            if left and name not in named:
                obstacle = obstacle_of(name, obj, resource)
                if obstacle.is_stuck(datetime.now(UTC)):
                    yield obstacle

    def _is_done(self, child: Child, observed: Observed, marks: dict[ObjectKey, Mark]) -> bool:
        live = observed.children.get(_name(child))
        if child.create_only:
            return live is not None
        return is_current(child.manifest, dict(live) if live is not None else None, marks.get(_name(child)))

    async def _make(
        self, key: Key, child: Child, observed: Observed, marks: dict[ObjectKey, Mark]
    ) -> Obstacle | None:
        """Write a child; gives what is in its way."""
        name = _name(child)
        self._store.writing[key, name] = set()
        try:
            live = await self._write(key, child, observed)
            if isinstance(live, Obstacle):
                return live
            log.debug("applied", extra={"key": "/".join(key), "child": "/".join(name)})
            live["kind"] = name.kind
            marks[name] = mark_of(live, child.manifest)
            self._store.learn_child(key, name.kind, trim(name.kind, live))
        finally:
            del self._store.writing[key, name]
        return None

    async def _write(self, key: Key, child: Child, observed: Observed) -> JsonObject | Obstacle:
        known = _name(child) in observed.children
        if child.create_only or (_name(child).kind in POSTED_FIRST and not known):
            try:
                return await self._create(key, child)
            except ConflictError:
                known = False
        return await self._apply(key, child) if known else await self._take(key, child, observed.resource)

    async def _take(self, key: Key, child: Child, resource: Manifest) -> JsonObject | Obstacle:
        """Write a child whose name may be taken: what is not ours to change stays as it is."""
        name = _name(child)
        found = await self._find(key, name)
        if found is None:
            return await (self._create if child.create_only else self._apply)(key, child)
        standing = standing_of(found, resource)
        if standing is Standing.OURS:
            return found if child.create_only else await self._apply(key, child)
        if standing is Standing.ORPHAN and (name.kind in ADOPTED or _fits(child.manifest, found)):
            return await self._apply(key, child)
        if standing is Standing.ORPHAN and name.kind == "Job" and is_over(found):
            await self._delete(key, name, found)
            return await self._create(key, child)
        return obstacle_of(name, found, resource)

    async def _apply(self, key: Key, child: Child) -> JsonObject:
        name = _name(child)
        await self._keep_replicas(key, child)
        return await self._api.apply(ALL[name.kind], key.namespace, name.name, child.manifest)

    async def _keep_replicas(self, key: Key, child: Child) -> None:
        """Hand the number of a Deployment's pods over before it is left out of what is applied.

        A field that nobody owns any more falls back to its default, here one pod, until an autoscaler has
        looked.
        """
        name = _name(child)
        live = value_at(self._store.children.get(key, {}).get(name), "spec", "replicas")
        if name.kind != "Deployment" or "replicas" in child.manifest["spec"] or not live:
            return
        manifest = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name.name, "namespace": key.namespace},
            "spec": {"replicas": live},
        }
        await self._api.apply(ALL[name.kind], key.namespace, name.name, manifest, manager=REPLICAS_MANAGER)

    async def _create(self, key: Key, child: Child) -> JsonObject:
        """Create an object; of a Secret only what it is called is kept. Raises ConflictError if it exists."""
        name = _name(child)
        manifest = dict(child.manifest)
        if child.secret_key:
            manifest["stringData"] = {child.secret_key: secrets.token_urlsafe(GENERATED_BYTES)}
        made = await self._api.create(ALL[name.kind], key.namespace, manifest)
        if name.kind == "Secret":
            return {"apiVersion": "v1", "kind": "Secret", "metadata": made["metadata"]}
        return made

    async def _find(self, key: Key, name: ObjectKey) -> JsonObject | None:
        """Read what has the name of a child; only Jobs are read whole, since they cannot be changed."""
        whole = name.kind == "Job"
        try:
            return await self._api.get(ALL[name.kind], key.namespace, name.name, metadata_only=not whole)
        except NotFoundError:
            return None

    async def _delete(self, key: Key, name: ObjectKey, live: Manifest) -> None:
        with contextlib.suppress(NotFoundError, ConflictError):
            await self._api.delete(ALL[name.kind], key.namespace, name.name, uid=live["metadata"]["uid"])
        log.info("deleted", extra={"key": "/".join(key), "child": "/".join(name)})


def _sort(
    names: Iterable[ObjectKey], results: Sequence[Obstacle | BaseException | None]
) -> tuple[list[RefusedChild], list[Obstacle]]:
    """What of several requests was refused, and what stood in the way; raises any other error."""
    refusals, obstacles = [], []
    for name, result in zip(names, results, strict=True):
        if isinstance(result, ApiError) and _is_refusal(result):
            retryable = result.retryable or result.by_admission
            refusals.append(RefusedChild(name, result.message, retryable, waits=result.by_silence))
        elif isinstance(result, BaseException):
            raise result
        elif result is not None:
            obstacles.append(result)
    return refusals, obstacles


def _is_refusal(error: ApiError) -> bool:
    """Whether trying at once is no help: who refuses, and why, is to be told."""
    return isinstance(error, InvalidError | ForbiddenError) or error.by_admission


def _name(child: Child) -> ObjectKey:
    return ObjectKey(child.manifest["kind"], child.manifest["metadata"]["name"])


def _fits(manifest: Manifest, job: JsonObject) -> bool:
    """Whether an orphaned Job does exactly what is wanted."""
    same = wanted_hash(manifest) == wanted_hash(job)
    return manifest["kind"] == "Job" and same and is_subset(manifest["spec"], job["spec"])
