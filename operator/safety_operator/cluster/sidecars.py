"""Pods with containers that others inject, a proxy or an agent for secrets. Reads cached pods only; pure.

Such a container may run on when the worker is over, so that the pod, its Job and its GPUs never end; or it
may end badly, so that Kubernetes counts a pod as failed whose worker did its work. Sidecars that Kubernetes
knows (init containers with restartPolicy Always) end by themselves and are none of this.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from safety_operator.children.worker_job import CONTAINER
from safety_operator.cluster.client import JsonObject
from safety_operator.cluster.pods import LABEL_INDEX, is_finished
from safety_operator.state.observed import Held
from safety_operator.state.reading import is_terminating, parse_time


def held_of(pods: Iterable[JsonObject]) -> Held | None:
    """What injected containers do to the pods of a Job; None where they do nothing."""
    found = list(pods)
    live = [pod for pod in found if not is_finished(pod)]
    kept = [pod for pod in live if worker_end(pod) is not None and _others_go_on(pod)]
    spoilt = [pod for pod in found if pod["status"].get("phase") == "Failed" and _did_its_work(pod)]
    if not kept and not spoilt:
        return None
    ends = (parse_time((worker_end(pod) or {}).get("finishedAt")) for pod in (*kept, *spoilt))
    indexed = any(LABEL_INDEX in (pod["metadata"].get("labels") or {}) for pod in found)
    return Held(
        since=max((end for end in ends if end is not None), default=None),
        failed=tuple(sorted(pod["metadata"]["name"] for pod in kept if _is_to_end(pod))),
        over=not indexed or all(worker_end(pod) is not None for pod in live),
    )


def worker_end(pod: JsonObject) -> Mapping[str, Any] | None:
    """How the worker in a pod ended; None while it runs, waits, or is none."""
    for status in pod["status"].get("containerStatuses", ()):
        if status["name"] == CONTAINER:
            ended: Mapping[str, Any] | None = status.get("state", {}).get("terminated")
            return ended
    return None


def _did_its_work(pod: JsonObject) -> bool:
    ended = worker_end(pod)
    return ended is not None and ended.get("exitCode") == 0


def _is_to_end(pod: JsonObject) -> bool:
    """Whether the worker failed and nobody has begun to take the pod away."""
    return not _did_its_work(pod) and not is_terminating(pod)


def _others_go_on(pod: JsonObject) -> bool:
    others = (s for s in pod["status"].get("containerStatuses", ()) if s["name"] != CONTAINER)
    return any("terminated" not in status.get("state", {}) for status in others)
