"""What the operator knows: the four kinds as Kopf watches them, children and pods as the informers do.

Everything is indexed by owner, so that gathering a resource costs no search. Each change wakes the owner and
those that refer to what changed, through ``wake``.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic_core import from_json, to_json

from safety_operator.cluster.client import JsonObject
from safety_operator.cluster.informer import is_newer, without_managed_fields
from safety_operator.cluster.kinds import OWNERS
from safety_operator.cluster.pods import child_of, ray_job_out_of_memory, ray_pod_ended
from safety_operator.cluster.references import ReferenceIndex, keys_of
from safety_operator.state.keys import Key, ObjectKey
from safety_operator.state.labels import LABEL_KIND, LABEL_MANAGED_BY, LABEL_NAME, MANAGED_BY
from safety_operator.state.observed import Needs
from safety_operator.state.reading import is_terminating

log = logging.getLogger(__name__)

Wake = Callable[[Key], None]
NeedsOf = Callable[[JsonObject], Needs]

ChildKey = TypeVar("ChildKey")

REFERABLE = frozenset({"ConfigMap", "PersistentVolumeClaim"})
"""Watched kinds that specs refer to by name."""


def key_of(resource: JsonObject) -> Key:
    """Give a resource's key."""
    meta = resource["metadata"]
    return Key(resource["kind"], meta.get("namespace", ""), meta["name"])


def owner_by_labels(obj: JsonObject) -> Key | None:
    """Give the owner that an object's labels name; None for objects that are not ours."""
    labels: Mapping[str, str] = obj["metadata"].get("labels") or {}
    if labels.get(LABEL_MANAGED_BY) != MANAGED_BY or labels.get(LABEL_KIND) not in OWNERS:
        return None
    return Key(labels[LABEL_KIND], obj["metadata"].get("namespace", ""), labels.get(LABEL_NAME, ""))


class Store:
    """All caches."""

    def __init__(self, needs_of: NeedsOf, wake: Wake) -> None:
        self._needs_of = needs_of
        self._wake = wake
        self._needs: dict[Key, tuple[str, int, Needs]] = {}
        self.references = ReferenceIndex()
        self.resources: dict[Key, JsonObject] = {}
        self.children: defaultdict[Key, dict[ObjectKey, JsonObject]] = defaultdict(dict)
        self.pods: defaultdict[Key, dict[str, JsonObject]] = defaultdict(dict)
        self.writing: dict[Key | tuple[Key, ObjectKey], set[str]] = {}
        """Resources whose status, and children that, are being written by us right now. Their events may come
        before the answer to the write; who writes looks again afterwards, so they need not wake anybody. The
        value: uids whose deletion came first, so that the answer does not raise them from the dead."""
        self.referable: dict[Key, JsonObject] = {}
        """ConfigMaps (metadata) and claims, by kind, namespace and name."""
        self.out_of_memory: dict[tuple[Key, str], JsonObject] = {}
        """By owner and name of a RayJob: a pod of it that was killed for its memory, though it is gone."""
        self.ray_ends: dict[tuple[Key, str], dict[str, JsonObject]] = {}
        """By owner and name of a RayJob: its pods that ended by themselves, by uid, the newest last."""
        self.optional: frozenset[str] = frozenset()
        """Kinds of others that are there to be seen and made, such as RayJob."""

    def needs(self, key: Key) -> Needs:
        """Give a resource's needs, derived once per generation."""
        resource = self.resources[key]
        meta = resource["metadata"]
        known = self._needs.get(key)
        if known is not None and known[:2] == (meta["uid"], meta.get("generation", 0)):
            return known[2]
        needs = self._needs_of(resource)
        self._needs[key] = (meta["uid"], meta.get("generation", 0), needs)
        self.references.put(key, keys_of(needs, key.namespace))
        return needs

    def targets(self, key: Key) -> frozenset[Key]:
        """Give the resources that a resource refers to; empty if it does not exist or is being deleted."""
        resource = self.resources.get(key)
        if resource is None or is_terminating(resource):
            return frozenset()
        return self.needs(key).references

    def put_resource(self, resource: JsonObject) -> bool:
        """Take in a version of a resource, from its watch or from an answer to a write.

        Returns whether it was news. Wakes those that refer to it, not the resource itself.
        """
        key = key_of(resource)
        known = self.resources.get(key)
        if known is not None and not is_newer(resource, known):
            return False
        if resource["metadata"]["uid"] in self.writing.get(key, ()):
            return False
        # Kopf's own parser gives each version a copy of every text; the client's gives all of them one.
        self.resources[key] = from_json(to_json(without_managed_fields(resource)))
        self.wake_referers(key)
        return True

    def drop_resource(self, key: Key, uid: str) -> bool:
        """Forget a resource that was deleted; False if another of the same name took its place."""
        known = self.resources.get(key)
        if known is None or known["metadata"]["uid"] != uid:
            return False
        del self.resources[key]
        self.writing.get(key, set()).add(uid)
        # No watch tells of Secrets, so nobody else would forget them.
        for child in [child for child in self.children.get(key, {}) if child.kind == "Secret"]:
            self.forget_child(key, child)
        self._needs.pop(key, None)
        self.references.put(key, frozenset())
        self.wake_referers(key)
        return True

    def wake_referers(self, target: Key) -> None:
        """Wake all resources that refer to ``target``."""
        for key in self.references.referers(target):
            self._wake(key)

    def object_changed(self, kind: str, before: JsonObject | None, after: JsonObject | None) -> None:
        """Take in a change of a child, a pod, a ConfigMap or a claim. ``after`` None: deleted."""
        newest = after or before
        if newest is None:
            return
        namespace, name = newest["metadata"].get("namespace", ""), newest["metadata"]["name"]
        if kind in REFERABLE:
            if after is None:
                self.referable.pop(Key(kind, namespace, name), None)
            else:
                self.referable[Key(kind, namespace, name)] = after
            self.wake_referers(Key(kind, namespace, name))
        # An object whose labels were taken away changes its owner: the one before must see it too.
        owners = {owner for obj in (before, after) if obj is not None and (owner := owner_by_labels(obj))}
        for owner in owners:
            mine = after if after is not None and owner_by_labels(after) == owner else None
            child = ObjectKey(kind, name)
            if after is None:
                self.writing.get((owner, child), set()).add(newest["metadata"]["uid"])
            self._note_memory(owner, kind, newest, gone=mine is None)
            if kind == "Pod":
                changed = _keep(self.pods, owner, name, mine, newest)
            else:
                changed = _keep(self.children, owner, child, mine, newest)
            # What did not change is the echo of our own write, which was planned with already.
            if changed and (owner, child) not in self.writing and owner in self.resources:
                self._wake(owner)

    def _note_memory(self, owner: Key, kind: str, obj: JsonObject, *, gone: bool) -> None:
        """Remember what KubeRay would take away, for as long as the RayJob is there."""
        if kind == "RayJob" and gone:
            self.out_of_memory.pop((owner, obj["metadata"]["name"]), None)
            self.ray_ends.pop((owner, obj["metadata"]["name"]), None)
        elif kind == "Pod" and ray_pod_ended(obj):
            self.ray_ends.setdefault((owner, child_of(obj)), {}).setdefault(obj["metadata"]["uid"], obj)
        if kind == "Pod" and (job := ray_job_out_of_memory(obj)):
            self.out_of_memory[owner, job] = obj

    def set_optional(self, kind: str, found: bool) -> None:
        """Take in whether a kind of others is there; wakes those whose kind may want one."""
        self.optional = self.optional | {kind} if found else self.optional - {kind}
        wants = "SafetyFinetune" if kind == "RayJob" else "GuardedDeployment"
        for key in [key for key in self.resources if key.kind == wants]:
            self._wake(key)

    def learn_child(self, owner: Key, kind: str, obj: JsonObject) -> None:
        """Take in the answer to our own write, before the watch tells of it, unless either is gone again."""
        name = ObjectKey(kind, obj["metadata"]["name"])
        if owner not in self.resources or obj["metadata"]["uid"] in self.writing.get((owner, name), ()):
            return
        known = self.children[owner].get(name)
        if known is None or is_newer(obj, known):
            self.children[owner][name] = obj

    def forget_child(self, owner: Key, child: ObjectKey) -> None:
        """Drop a child that is gone and that no watch tells of."""
        self.children[owner].pop(child, None)
        if not self.children[owner]:
            del self.children[owner]

    def find(self, kind: str, namespace: str, name: str) -> JsonObject | None:
        """Give a ConfigMap (metadata) or a claim; None where there is none."""
        return self.referable.get(Key(kind, namespace, name))

    def known(self, kind: str) -> set[tuple[Key, str]]:
        """Give the resources of a kind that are known, each with its uid."""
        return {(key, r["metadata"]["uid"]) for key, r in self.resources.items() if key.kind == kind}


def _keep(
    table: defaultdict[Key, dict[ChildKey, JsonObject]],
    owner: Key,
    name: ChildKey,
    obj: JsonObject | None,
    event: JsonObject,
) -> bool:
    """Write one entry, unless what is known is newer than the event: our own writes are learned before it.

    Returns whether it was news.
    """
    known = table[owner].get(name)
    changed = False
    if obj is not None:
        changed = known is None or is_newer(obj, known)
        # Equal versions are taken over too, so that one copy is kept and not two.
        if known is None or not is_newer(known, obj):
            table[owner][name] = obj
    elif known is not None and known["metadata"]["uid"] == event["metadata"]["uid"]:
        del table[owner][name]
        changed = True
    if not table[owner]:
        del table[owner]
    return changed
