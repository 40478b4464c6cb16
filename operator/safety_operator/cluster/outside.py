"""Probes from another namespace: their Jobs are made, found and removed there, and nothing else.

Asked only while a proof of a resource runs: nothing is watched, so an operator of a few namespaces needs no
more rights there than to make, list and delete Jobs, and to list pods.
"""

import contextlib
import logging
from collections.abc import Mapping

from safety_operator.children.metadata import owner_of
from safety_operator.children.probe_job import probe_label
from safety_operator.cluster.client import Api, JsonObject
from safety_operator.cluster.kinds import BUILT_IN
from safety_operator.cluster.ownership import is_owned
from safety_operator.cluster.pods import failure_of, record_of
from safety_operator.errors import ApiError, ConflictError, ForbiddenError, InvalidError, NotFoundError
from safety_operator.state.keys import Key, Manifest, ObjectKey
from safety_operator.state.labels import LABEL_PROBE_OF, LABEL_ROLE
from safety_operator.state.observed import Outside, OutsideJob, OutsideRefusal
from safety_operator.state.plan import Plan
from safety_operator.state.reading import is_terminating, items_of, status_of, value_at

log = logging.getLogger(__name__)

KIND, PROOFS = "GuardedDeployment", frozenset({"prove", "prove-candidate"})
"""Whose proofs look from outside, and the roles of the Jobs that run meanwhile."""
NO_RIGHT = "cannot "
"""How Kubernetes' own authorizer says it: User "x" cannot create resource "jobs"; a quota says otherwise."""


class OutsideProbes:
    """The Jobs in one namespace, which is none of their owners'; empty: there is none."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._refusals: dict[Key, dict[str, OutsideRefusal]] = {}

    def forget(self, key: Key) -> None:
        """Drop all memory of a resource that is gone."""
        self._refusals.pop(key, None)

    async def look(self, key: Key, resource: Manifest, children: Mapping[ObjectKey, JsonObject]) -> Outside:
        """Find the Jobs of a resource, and what their pods said."""
        if not self._namespace or not _is_proving(key, resource, children):
            return Outside()
        selector = f"{LABEL_PROBE_OF}={probe_label(owner_of(resource))}"
        refusals = self._refusals.get(key, {})
        try:
            jobs = (await self._list("Job", selector))["items"]
            pods = (await self._list("Pod", selector))["items"] if jobs else []
        except ForbiddenError as error:
            told = OutsideRefusal(error.message, no_right=NO_RIGHT in error.message)
            return Outside(refusals=dict.fromkeys(refusals, told))
        found = {job["metadata"]["name"]: _read(job, pods) for job in jobs if not is_terminating(job)}
        return Outside(found, dict(refusals))

    async def _list(self, kind: str, selector: str) -> JsonObject:
        return await self._api.list(BUILT_IN[kind], self._namespace, selector=selector, newest=True)

    async def clean_up(self, key: Key, plan: Plan) -> None:
        """Remove the Jobs that are over, once what they said is in the status: no other place has it."""
        for job in plan.outside_over:
            await self._delete(job)
        if plan.outside_over:
            self.forget(key)

    async def make(self, key: Key, plan: Plan) -> None:
        """Make the Job that a plan wants. What is refused is remembered."""
        if plan.outside is None:
            return
        name = str(plan.outside["metadata"]["name"])
        if name in self._refusals.get(key, {}):
            return
        try:
            await self._api.create(BUILT_IN["Job"], self._namespace, plan.outside)
        except ConflictError:
            return  # made before, by this process or the one before it
        except ApiError as error:
            if (
                not isinstance(error, ForbiddenError | InvalidError | NotFoundError)
                and not error.by_admission
            ):
                raise
            no_right = isinstance(error, ForbiddenError) and NO_RIGHT in error.message
            self._refusals[key] = {name: OutsideRefusal(error.message, no_right=no_right)}
            log.warning("no probe from outside", extra={"key": "/".join(key), "error": error.message})

    async def _delete(self, job: Manifest) -> None:
        with contextlib.suppress(NotFoundError, ConflictError, ForbiddenError):
            meta = job["metadata"]
            await self._api.delete(BUILT_IN["Job"], self._namespace, meta["name"], uid=meta["uid"])


def _is_proving(key: Key, resource: Manifest, children: Mapping[ObjectKey, JsonObject]) -> bool:
    """Whether there is a proof whose result the status does not have yet."""
    if key.kind != KIND:
        return False
    stages = items_of(value_at(status_of(resource), "stages"))
    known = {
        stage.get("job")
        for stage in stages
        if stage.get("name") in PROOFS and (stage.get("hash") or stage.get("finishedAt"))
    }
    return any(
        kind == "Job" and name not in known and value_at(child, "metadata", "labels", LABEL_ROLE) in PROOFS
        for (kind, name), child in children.items()
    )


def _read(job: JsonObject, pods: list[JsonObject]) -> OutsideJob:
    mine = [pod for pod in pods if is_owned(pod, job["metadata"]["uid"])]
    return OutsideJob(job, record_of(mine), failure_of(mine))
