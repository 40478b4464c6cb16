"""Jobs of a stage that failed, or left no record: what is told, and when the next one is made."""

from datetime import datetime, timedelta
from typing import NamedTuple

from safety_operator.api.conditions import Reason
from safety_operator.planning.engine.job_start import StageJob
from safety_operator.planning.engine.problems import Problem, pod_words
from safety_operator.planning.engine.stages import View
from safety_operator.state.keys import Manifest, ObjectKey
from safety_operator.state.labels import ANNOTATION_RETRY
from safety_operator.state.reading import annotation, condition_of, format_time, parse_time, value_at
from safety_records.result import FailureClass, StageFailure, StageResult

RETRY_SECONDS = (60, 300, 900, 3600)
"""Pause before the next Job after the first, second, third and any later one failed for infrastructure."""
KILLS_AT_ONCE = 10
"""Kills after which the next Job follows without a pause, where a kill ends a Job."""
INPUT_RETRY_SECONDS = 3600
"""Pause before data is read again that was wrong and that the operator cannot watch."""
MAX_LOST = 3
"""Jobs that may complete without a record being found before that counts as a failure."""


LOST_NODES = frozenset({"RayNodeLost", "RayHeadLost"})
"""Reasons with which the wrapper of a training on Ray tells that a pod is gone."""
OOM_KILLED = "OOMKilled"
"""Kubernetes' reason of a container that was killed for its memory."""


class Try(NamedTuple):
    """The newest Job of a stage."""

    name: str
    child: Manifest
    number: int
    """From 1."""
    older: tuple[ObjectKey, ...]
    """Jobs of earlier tries, which are not needed any more."""
    result: StageResult | None
    """The record that its pods left; None while there is none."""
    kind: str = "Job"
    """Or RayJob."""

    @property
    def all(self) -> tuple[ObjectKey, ...]:
        """Its Job, and those before."""
        return (*self.older, ObjectKey(self.kind, self.name))


def token_changed(job: StageJob, last: Try) -> bool:
    """Whether a Job made now would read other objects, or run another pod: reason to try again at once."""
    manifest = job.build(last.number, kind=last.kind)
    token = value_at(manifest, "metadata", "annotations", ANNOTATION_RETRY)
    return bool(annotation(last.child, ANNOTATION_RETRY) != token)


def next_try(job: StageJob, last: Try, text: str = "", *, kind: str = "") -> View:
    """Make the Job that follows the last one, in its place."""
    return job.start(last.number + 1, replaces=last.all, text=text, kind=kind)


def after_loss(job: StageJob, last: Try) -> View:
    """The Job completed but its pods are gone: the worker prints its record again when asked again.

    A RayJob's pods never tell: KubeRay takes them away with its end, and a small Job asks.
    """
    if last.number <= MAX_LOST or last.kind == "RayJob":
        return next_try(job, last, f"{job.name}: asking for its record", kind="Job")
    message = f"Job {last.name} completed but left no result record, {last.number} times."
    return _wait(job, last._replace(result=None), Reason.STAGE_FAILED, message, RETRY_SECONDS[-1])


def after_failure(job: StageJob, last: Try) -> View:
    """The Job failed, or its worker did for a reason that no further try changes."""
    failure = last.result.failure if last.result is not None else None
    killed = killed_for_memory(job, last)
    if killed is not None and (failure is None or failure.failure is not FailureClass.INPUT):
        failure = killed
    seconds: float | None = RETRY_SECONDS[min(last.number, len(RETRY_SECONDS)) - 1]
    lost = _lost_a_node(last)
    if killed is None and (lost or _was_killed(job, last)):
        if last.number <= KILLS_AT_ONCE:
            what = "a node of its Ray cluster was lost" if lost else "its pod was killed"
            return next_try(job, last, f"{job.name}: starting again after {what}")
        seconds = RETRY_SECONDS[min(last.number - KILLS_AT_ONCE, len(RETRY_SECONDS)) - 1]
    if failure is not None and failure.failure is FailureClass.INPUT:
        seconds = INPUT_RETRY_SECONDS if job.work.outside else None
    if token_changed(job, last):
        seconds = 0
    reason = failure.reason if failure is not None else Reason.STAGE_FAILED
    return _wait(job, last, reason, failure.message if failure else _explain(job, last), seconds)


def killed_for_memory(job: StageJob, last: Try) -> StageFailure | None:
    """That a pod was killed for its memory, of a stage that would need as much again."""
    found, remedy = job.run.observed.failures.get(last.name), job.work.shape.memory_remedy
    if found is None or found.reason != OOM_KILLED or not remedy:
        return None
    message = f"pod {found.pod} was killed because its memory was full: {remedy}"
    return StageFailure(failure=FailureClass.INPUT, reason=Reason.OUT_OF_MEMORY, message=message)


def _lost_a_node(last: Try) -> bool:
    """Whether a RayJob ended because a pod of its cluster is gone; a Job's pods say so by exit code."""
    failure = last.result.failure if last.result is not None else None
    return last.kind == "RayJob" and failure is not None and failure.reason in LOST_NODES


def _was_killed(job: StageJob, last: Try) -> bool:
    """Whether somebody killed a pod of a Job that ends at exit code 137, because that may be its memory.

    The policy knows no reasons, only codes. A forced deletion, a node that dies and a person all look alike.
    """
    failure = last.result.failure if last.result is not None else None
    wrong = failure is not None and failure.failure is FailureClass.INPUT
    policy = condition_of(last.child, "Failed").get("reason") == "PodFailurePolicy"
    return bool(job.work.shape.memory_remedy) and policy and not wrong


def _wait(job: StageJob, last: Try, reason: str, message: str, seconds: float | None) -> View:
    """Try again so many seconds after the Job's end; never by itself where it is None."""
    ended = _ended(last.child, job.run.now)
    retry_at = None if seconds is None else ended + timedelta(seconds=seconds)
    if retry_at is not None and retry_at <= job.run.now:
        return next_try(job, last)
    message = f"Stage {job.name}: {message}"
    if retry_at is not None:  # a pod's last words may or may not end as a sentence
        message = f"{message.rstrip('. ')}. Next try at {format_time(retry_at)}."
    problem = Problem(reason, message, failed=True)
    record = last.result.to_record() if last.result is not None else {}
    return View(
        job.entry("Failed", last.name, result=record, finishedAt=format_time(ended)),
        problem=problem,
        text=problem.message,
        jobs=frozenset({last.name}),
        delete=last.older,
        retry_at=retry_at,
    )


def _explain(job: StageJob, last: Try) -> str:
    """The best explanation there is of a failure without a record."""
    failure = job.run.observed.failures.get(last.name)
    if failure is not None:
        return pod_words(failure)
    condition = condition_of(last.child, "Failed")
    return f"Job {last.name} failed: {condition.get('reason', 'Failed')}: {condition.get('message', '')}"


def _ended(child: Manifest, now: datetime) -> datetime:
    """When a Job came to its end."""
    for type_ in ("Failed", "Complete", "FailureTarget"):
        found = parse_time(condition_of(child, type_).get("lastTransitionTime"))
        if found is not None:
            return found
    return now
