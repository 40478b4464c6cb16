"""What the pods of a child say: result records, last words, who runs. Reads cached pods only; pure."""

from collections.abc import Iterable, Iterator
from typing import Any

from safety_operator.cluster.client import JsonObject
from safety_operator.state.labels import LABEL_INSTANCE, LABEL_TEMPLATE
from safety_operator.state.observed import PodFailure
from safety_operator.state.reading import integer, is_terminating, parse_message
from safety_records.result import EXIT_INTERRUPTED, EXIT_KILLED, FailureClass, StageResult

MAX_MESSAGE = 1200
"""Characters of last words that are kept; the end says most."""
LABEL_JOB = ("batch.kubernetes.io/job-name", "job-name")
LABEL_INDEX = "batch.kubernetes.io/job-completion-index"
LABEL_RAY = "ray.io/cluster"
"""KubeRay's, on all pods of a RayCluster."""
OOM_KILLED = "OOMKilled"
LABEL_POD_HASH = "pod-template-hash"
NOT_SCHEDULED = frozenset({"Unschedulable", "SchedulingGated"})
"""Reasons of a pod that no node has: there is none that fits, or a queue holds it back."""
WAITING_FAILURES = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    }
)
"""Reasons of a waiting container that will not go away by waiting a moment."""


BY_SIGNAL = frozenset({EXIT_INTERRUPTED, EXIT_KILLED})
"""Exit codes of containers that a signal ended; the kernel's, for memory, has a reason of its own."""
OWN_CONTAINERS = frozenset({"worker", "server", "guardrails", "classifier"})
"""Names of the operator's containers: their words count before those of what others inject."""


def child_of(pod: JsonObject) -> str:
    """Give the name of the Job, RayJob or Deployment that a pod belongs to; empty if none."""
    labels = pod["metadata"].get("labels") or {}
    if LABEL_RAY in labels:
        return str(labels.get(LABEL_INSTANCE, ""))
    for label in LABEL_JOB:
        if label in labels:
            return str(labels[label])
    suffix = labels.get(LABEL_POD_HASH)
    for owner in pod["metadata"].get("ownerReferences", ()):
        if owner["kind"] == "ReplicaSet" and suffix and owner["name"].endswith(f"-{suffix}"):
            return str(owner["name"])[: -len(suffix) - 1]
    return ""


def ray_job_out_of_memory(pod: JsonObject) -> str:
    """Name of the RayJob of a pod that was killed for its memory; empty for any other pod.

    KubeRay deletes such a pod at once, and with it why it ended.
    """
    labels = pod["metadata"].get("labels") or {}
    ends = (
        status.get("state", {}).get("terminated") for status in pod["status"].get("containerStatuses", ())
    )
    killed = any(end and end.get("reason") == OOM_KILLED for end in ends)
    return child_of(pod) if killed and LABEL_RAY in labels else ""


def ray_pod_ended(pod: JsonObject) -> bool:
    """Whether a pod of a RayCluster ended by itself: nobody deleted, evicted or preempted it."""
    status = pod["status"]
    disrupted = any(c["type"] == "DisruptionTarget" for c in status.get("conditions", ()))
    of_ray = LABEL_RAY in (pod["metadata"].get("labels") or {})
    failed = status.get("phase") == "Failed" and not status.get("reason")
    return of_ray and failed and not disrupted and not is_terminating(pod)


def is_of_run(pod: JsonObject) -> bool:
    """Whether a Job made it, or KubeRay."""
    return any(label in (pod["metadata"].get("labels") or {}) for label in (*LABEL_JOB, LABEL_RAY))


def is_finished(pod: JsonObject) -> bool:
    """Whether a pod is over."""
    return pod["status"].get("phase") in {"Succeeded", "Failed"}


def is_running(pod: JsonObject) -> bool:
    """Whether a pod works: started, not finished, not being deleted."""
    return pod["status"].get("phase") == "Running" and not is_terminating(pod)


def newest_of(deployment: JsonObject, pods: Iterable[JsonObject]) -> list[JsonObject]:
    """Give the pods of a Deployment's present template.

    Our label tells the operator's templates apart. Where others changed the template, as ``kubectl rollout
    restart`` does, several ReplicaSets share the label: then the one with the youngest pod counts.
    """
    template = deployment.get("spec", {}).get("template", {}).get("metadata", {}).get("labels") or {}
    wanted = template.get(LABEL_TEMPLATE)
    mine = [pod for pod in pods if pod["metadata"]["labels"].get(LABEL_TEMPLATE) == wanted]
    if not mine:
        return []
    youngest = max(mine, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
    label = youngest["metadata"]["labels"].get(LABEL_POD_HASH)
    return [pod for pod in mine if pod["metadata"]["labels"].get(LABEL_POD_HASH) == label]


def unready(pods: Iterable[JsonObject]) -> list[JsonObject]:
    """Give the pods that are neither ready nor being taken away."""
    return [pod for pod in pods if not is_terminating(pod) and not is_ready(pod)]


def is_ready(pod: JsonObject) -> bool:
    """Whether a pod's readiness probe succeeds."""
    conditions = pod["status"].get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def refused_pods(deployment: JsonObject) -> PodFailure | None:
    """Give the words of what keeps a Deployment from making pods, such as a quota; None where nothing does.

    Pods that were never made have no words of their own.
    """
    for condition in deployment.get("status", {}).get("conditions", ()):
        refused = condition["type"] == "ReplicaFailure" and condition["status"] == "True"
        no_set = condition["type"] == "Progressing" and condition.get("reason") == "ReplicaSetCreateError"
        if refused or no_set:
            message = condition.get("message", "")
            return PodFailure("", "", None, condition.get("reason", ""), _cut(message))
    return None


def record_of(pods: Iterable[JsonObject]) -> StageResult | None:
    """Give the record that counts among a Job's pods, or None.

    A success counts before a failure; then wrong input, which ends the Job, then what is no interruption (all
    other pods have one where a pod is gone); index 0 before others, the latest pod before earlier ones.
    """
    found = [(_rank(pod, code, result), result) for pod in pods for code, result in _results(pod)]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def failure_of(pods: Iterable[JsonObject]) -> PodFailure | None:
    """Give the last words of the newest pod that failed or cannot start; None if none did.

    One that cannot start now says more than one that is over: others may have waited for it in vain. One that
    SIGTERM or the loss of another ended explains nothing where there is another.
    """
    newest_first = sorted(pods, key=lambda p: str(p["metadata"].get("creationTimestamp", "")), reverse=True)
    found = None
    for pod in sorted(newest_first, key=is_finished):
        failure = _failure(pod)
        if failure is not None and failure.exit_code != EXIT_INTERRUPTED:
            return failure
        found = found or failure
    return found


def _rank(pod: JsonObject, code: int, result: StageResult) -> tuple[bool, bool, bool, int, str]:
    index = integer((pod["metadata"].get("labels") or {}).get(LABEL_INDEX))
    wrong = result.failure is not None and result.failure.failure is FailureClass.INPUT
    born = str(pod["metadata"].get("creationTimestamp", ""))
    return result.failure is None, wrong, code != EXIT_INTERRUPTED, -index, born


def _results(pod: JsonObject) -> Iterator[tuple[int, StageResult]]:
    """Exit codes and records."""
    for status in pod["status"].get("containerStatuses", ()):
        for state in ("lastState", "state"):
            ended = status.get(state, {}).get("terminated", {})
            result = parse_message(ended.get("message", ""))
            if result is not None:
                yield integer(ended.get("exitCode")), result


def _failure(pod: JsonObject) -> PodFailure | None:
    name, status = pod["metadata"]["name"], pod["status"]
    failed = status.get("phase") == "Failed"
    if failed and status.get("reason"):
        # What ended the whole pod, an eviction say, says more than the signal that its containers got.
        return PodFailure(name, "", None, status["reason"], _cut(status.get("message", "")), ended=True)
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    for container in sorted(containers, key=lambda c: c["name"] not in OWN_CONTAINERS):
        if failure := _container_failure(name, container):
            return failure
    if failed:
        return PodFailure(name, "", None, "Failed", _cut(status.get("message", "")), ended=True)
    for condition in status.get("conditions", ()):
        unscheduled = condition["type"] == "PodScheduled" and condition["status"] == "False"
        if unscheduled and condition.get("reason") in NOT_SCHEDULED:
            return PodFailure(name, "", None, condition["reason"], _cut(condition.get("message", "")))
    return None


def _container_failure(pod: str, container: dict[str, Any]) -> PodFailure | None:
    state = container.get("state", {})
    ended = state.get("terminated") or container.get("lastState", {}).get("terminated") or {}
    waiting = state.get("waiting", {})
    if ended.get("exitCode"):
        # What ended says more than the waiting that follows it (CrashLoopBackOff).
        return PodFailure(
            pod, container["name"], ended["exitCode"], ended.get("reason", "Error"), _words(ended)
        )
    if waiting.get("reason") in WAITING_FAILURES:
        return PodFailure(pod, container["name"], None, waiting["reason"], _cut(waiting.get("message", "")))
    return None


def _words(ended: dict[str, Any]) -> str:
    """Last words; none of a container that somebody's signal ended: its log does not tell why."""
    message = ended.get("message", "")
    result = parse_message(message)
    if result is not None and result.failure is not None:
        return _cut(result.failure.message)
    by_signal = ended.get("reason") == "Error" and integer(ended.get("exitCode")) in BY_SIGNAL
    return "" if by_signal else _cut(message)


def _cut(message: str) -> str:
    text = message.strip()
    return text if len(text) <= MAX_MESSAGE else "…" + text[1 - MAX_MESSAGE :]
