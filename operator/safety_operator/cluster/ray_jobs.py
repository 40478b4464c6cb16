"""RayJobs in the form of Jobs, so that planning follows both alike. Pure.

What is kept: who it is, conditions Complete, Failed and Suspended as a Job has them, the numbers that are
shown, its last words, and the name of its RayCluster, whose events say why there are no pods. Facts: KubeRay
1.5 (apis/ray/v1/rayjob_types.go).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from safety_operator.cluster.pods import failure_of
from safety_operator.state.labels import ANNOTATION_ENDED
from safety_operator.state.observed import EndedPods
from safety_operator.state.reading import annotation, integer, items_of, parse_message, value_at
from safety_records.result import StageResult

MAX_WORDS = 6000
"""Characters of the last words that are kept: a record has 3,500 bytes at most, and it comes last."""
MAX_MESSAGE = 1200
"""Characters of a condition's message."""
RAN_WELL = "SUCCEEDED"
FAILED = frozenset({"Failed", "ValidationFailed"})
LABEL_NODE_TYPE = "ray.io/node-type"
"""KubeRay's, on all pods of a RayCluster."""
OVER = frozenset({"Succeeded", "Failed"})
SUSPENDED = frozenset({"Suspending", "Suspended"})


def as_job(ray_job: Mapping[str, Any]) -> dict[str, Any]:
    """A RayJob as a Job that says the same."""
    meta = {key: value for key, value in ray_job["metadata"].items() if key != "managedFields"}
    status = value_at(ray_job, "status", default={})
    nodes = _nodes(ray_job)
    running = status.get("jobStatus") == "RUNNING"
    return {
        "metadata": meta,
        "spec": {
            "suspend": bool(value_at(ray_job, "spec", "suspend")),
            "parallelism": nodes,
            "completions": nodes,
        },
        "status": {
            "conditions": list(_conditions(ray_job)),
            "failed": integer(status.get("failed")),
            "ready": nodes if running else 0,
            "words": str(status.get("message") or "")[-MAX_WORDS:],
            "seen": bool(status.get("jobDeploymentStatus")),
            "submitted": state_of(status) == "Running",
            "startTime": status.get("startTime"),
            "cluster": str(status.get("rayClusterName") or ""),
        },
    }


def is_headless(job: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a RayJob runs for KubeRay though the pod of its head is gone or over.

    KubeRay makes no other head for a cluster that was complete, and asks the one that is gone for ever.
    """
    return bool(value_at(job, "status", "submitted")) and not any(
        value_at(pod, "metadata", "labels", LABEL_NODE_TYPE) == "head"
        and value_at(pod, "status", "phase") not in OVER
        for pod in pods
    )


def count_ends(pods: Iterable[Mapping[str, Any]]) -> EndedPods | None:
    """Pods of a RayJob that ended by themselves, the newest last; None where none says how."""
    found = list(pods)
    last = failure_of([dict(pod) for pod in found[-1:]])
    types = [value_at(pod, "metadata", "labels", LABEL_NODE_TYPE) for pod in found]
    heads = types.count("head")
    return EndedPods(heads, len(found) - heads, last) if last is not None else None


def record_in_words(job: Mapping[str, Any]) -> StageResult | None:
    """The record of a failed RayJob: the operator's, which ended it, or what its entry point printed last.

    None where there is none.
    """
    told = parse_message(annotation(job, ANNOTATION_ENDED))
    if told is not None:
        return told
    for line in reversed(str(value_at(job, "status", "words", default="")).splitlines()):
        if "inputsHash" in line and (found := parse_message(line.strip())) is not None:
            return found
    return None


def _nodes(ray_job: Mapping[str, Any]) -> int:
    groups = items_of(value_at(ray_job, "spec", "rayClusterSpec", "workerGroupSpecs"))
    return 1 + sum(integer(group.get("replicas")) for group in groups)


def _conditions(ray_job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    status = value_at(ray_job, "status", default={})
    state, ran_well = status.get("jobDeploymentStatus"), status.get("jobStatus") == RAN_WELL
    if state == "Complete" and ran_well:
        yield _condition("Complete", status)
    elif state == "Complete" or state in FAILED:
        yield _condition("Failed", status)
    elif state in SUSPENDED or value_at(ray_job, "spec", "suspend"):
        yield _condition("Suspended", status)


def _condition(type_: str, status: Mapping[str, Any]) -> dict[str, Any]:
    words = str(status.get("message") or "").strip()
    return {
        "type": type_,
        "status": "True",
        "reason": str(status.get("reason") or status.get("jobStatus") or state_of(status)),
        "message": words if len(words) <= MAX_MESSAGE else f"…{words[1 - MAX_MESSAGE :]}",
        "lastTransitionTime": status.get("endTime") or value_at(status, "rayJobInfo", "endTime"),
    }


def state_of(status: Mapping[str, Any]) -> str:
    """KubeRay's word for where a RayJob is; empty while KubeRay has not looked at it."""
    return str(status.get("jobDeploymentStatus") or "")
