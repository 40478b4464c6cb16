"""Which children do not move, and whose events may say why. Reads caches only; pure.

A Job that made fewer pods than it should, or that a queue keeps suspended; a pod that has not started, or
that does not end and keeps its Job from making another; a claim that has no volume yet. What finished or runs
is not asked about.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from safety_operator.cluster.client import JsonObject
from safety_operator.cluster.pods import failure_of, is_finished, newest_of
from safety_operator.state.keys import RUN_KINDS, ObjectKey
from safety_operator.state.labels import QUEUE_LABEL
from safety_operator.state.reading import is_terminating

MAX_PODS = 2
"""Pods of one child that are asked about; the others wait for the same."""
MAX_CLAIMS = 3
"""Claims of one pod that are asked about."""
SELECTED_NODE = "volume.kubernetes.io/selected-node"
"""The scheduler's annotation on a claim."""
FindClaim = Callable[[str], JsonObject | None]


@dataclass(frozen=True, slots=True)
class Stuck:
    """Something that does not move."""

    child: str
    """Name of the Job or Deployment that waits for it."""
    uid: str
    """Of the object whose events are read; of the RayJob where they are its cluster's, known by name."""
    what: Literal[
        "missing pods", "suspended", "pending pod", "unbound claim", "ending pod", "missing ray pods"
    ]
    name: str
    """Name of that object."""
    scheduler: str = ""
    """Pending pods: the scheduler that has not looked at it; empty once one has."""
    node: str = ""
    """Ending pods: the node that is to say that the pod has ended."""


def find_stuck(
    children: Mapping[ObjectKey, JsonObject],
    pods: Mapping[str, list[JsonObject]],
    claim: FindClaim,
) -> list[Stuck]:
    """Everything of a resource that does not move.

    Parameters
    ----------
    children
        The resource's own.
    pods
        By name of their Job or Deployment.
    claim
        Gives a PersistentVolumeClaim of the namespace by name, None where there is none.
    """
    found: list[Stuck] = []
    for (kind, name), child in children.items():
        if kind not in {*RUN_KINDS, "Deployment"} or is_terminating(child):
            continue
        mine = pods.get(name, [])
        if kind in RUN_KINDS:
            found += _stuck_job(name, child, mine)
        waiting = mine if kind in RUN_KINDS else newest_of(child, mine)
        for pod in [pod for pod in _alive(waiting) if pod["status"].get("phase") == "Pending"][:MAX_PODS]:
            found += _stuck_pod(name, pod, claim)
    return found


def _alive(pods: Iterable[JsonObject]) -> list[JsonObject]:
    """Pods that are neither over nor being taken away, the youngest first."""
    alive = [pod for pod in pods if not is_finished(pod) and not is_terminating(pod)]
    return sorted(alive, key=lambda p: str(p["metadata"].get("creationTimestamp", "")), reverse=True)


def _stuck_job(name: str, job: JsonObject, pods: list[JsonObject]) -> Iterator[Stuck]:
    spec, status = job.get("spec", {}), job.get("status", {})
    over = {"Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"}
    if any(c["type"] in over and c["status"] == "True" for c in status.get("conditions", ())):
        return
    uid = job["metadata"]["uid"]
    if spec.get("suspend"):
        if QUEUE_LABEL in (job["metadata"].get("labels") or {}):
            yield Stuck(name, uid, "suspended", name)
    # Without a start time the Job's controller has not looked at it, and nothing can be said of it.
    elif status.get("startTime") and len(_alive(pods)) < wanted_pods(job):
        ending = [pod for pod in pods if is_terminating(pod) and not is_finished(pod)]
        yield from (_ending(name, pod) for pod in ending[:MAX_PODS])
        if not ending:
            yield Stuck(name, uid, "missing pods", name)
        if not ending and status.get("cluster"):
            yield Stuck(name, uid, "missing ray pods", status["cluster"])


def _ending(child: str, pod: JsonObject) -> Stuck:
    """A pod that is being taken away: Jobs with a failure policy make no other before it is over."""
    meta, node = pod["metadata"], str(pod["spec"].get("nodeName") or "")
    return Stuck(child, meta["uid"], "ending pod", meta["name"], node=node)


def wanted_pods(job: JsonObject) -> int:
    """How many pods of a Job should be there now."""
    spec, status = job.get("spec", {}), job.get("status", {})
    parallelism = int(spec.get("parallelism") or 1)
    return min(parallelism, int(spec.get("completions") or parallelism) - int(status.get("succeeded") or 0))


def _stuck_pod(child: str, pod: JsonObject, find_claim: FindClaim) -> Iterator[Stuck]:
    failure = failure_of([pod])
    if failure is not None and failure.reason != "Unschedulable":
        return
    unbound = list(_unbound_claims(pod, find_claim))
    if failure is None and not any(map(_has_node, unbound)):
        seen = any(c["type"] == "PodScheduled" for c in pod["status"].get("conditions", ()))
        scheduler = "" if seen else str(pod["spec"].get("schedulerName") or "default-scheduler")
        yield Stuck(child, pod["metadata"]["uid"], "pending pod", pod["metadata"]["name"], scheduler)
    for claim in unbound:
        yield Stuck(child, claim["metadata"]["uid"], "unbound claim", claim["metadata"]["name"])


def _unbound_claims(pod: JsonObject, find_claim: FindClaim) -> Iterator[JsonObject]:
    volumes = (v.get("persistentVolumeClaim") for v in pod["spec"].get("volumes", ()))
    for name in [volume["claimName"] for volume in volumes if volume][:MAX_CLAIMS]:
        found = find_claim(name)
        if found is not None and found.get("status", {}).get("phase") != "Bound":
            yield found


def _has_node(claim: JsonObject) -> bool:
    """Whether the scheduler chose a node for a claim that waits for its first consumer.

    Until the volume is there, the pod itself says nothing and has no event.
    """
    return SELECTED_NODE in (claim["metadata"].get("annotations") or {})
