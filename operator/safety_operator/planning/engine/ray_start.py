"""RayJobs whose pods end before the training begins, or whose head was killed for its memory.

KubeRay deletes such a pod and makes another one, for ever, and the RayJob says nothing of it. So the operator
ends the RayJob with the reason; what follows is as after any failure.
"""

from dataclasses import replace

from safety_operator.children.ray_job import LEAST_MEMORY, end_ray_job, memory_words
from safety_operator.planning.engine.job_start import StageJob
from safety_operator.planning.engine.job_tries import Try, after_failure, killed_for_memory
from safety_operator.planning.engine.problems import pod_words
from safety_operator.planning.engine.stages import View
from safety_operator.state.labels import ANNOTATION_ENDED
from safety_operator.state.plan import Child
from safety_operator.state.reading import annotation, integer, value_at
from safety_records.result import FailureClass, StageFailure, StageResult

MAX_STARTS = 3
"""Times that a pod's place in the cluster may be filled anew before the training has begun."""


def was_ended(last: Try) -> bool:
    """Whether the operator ended a RayJob that could not start."""
    return last.kind == "RayJob" and bool(annotation(last.child, ANNOTATION_ENDED))


def unable_to_start(job: StageJob, last: Try) -> View | None:
    """The end of a RayJob that cannot go on by itself; None while it may."""
    failure = _failure(job, last) if last.kind == "RayJob" else None
    if failure is None:
        return None
    record = StageResult(stage=job.name, inputs_hash=job.digest, failure=failure)
    view = after_failure(job, last._replace(result=record))
    if view.status.job != last.name:  # what it would read has changed, and the next try is made
        return view
    ended = end_ray_job(job.build(last.number, kind=last.kind), record)
    return replace(view, apply=(*view.apply, Child(ended)))


def _failure(job: StageJob, last: Try) -> StageFailure | None:
    begun = bool(value_at(last.child, "status", "submitted"))
    killed = killed_for_memory(job, last)
    if killed is not None and (not begun or last.name in job.run.observed.headless):
        return _too_small(job, last, killed)
    return None if begun else _crashed(job, last)


def _too_small(job: StageJob, last: Try, killed: StageFailure) -> StageFailure:
    has = memory_words(job.build(last.number, kind=last.kind))
    words = f"{killed.message}. It had {has}; Ray and the driver of a training take {LEAST_MEMORY} at least"
    return killed.model_copy(update={"message": words})


def _crashed(job: StageJob, last: Try) -> StageFailure | None:
    ended = job.run.observed.ended.get(last.name)
    others = max(1, integer(value_at(last.child, "spec", "parallelism"), 1) - 1)
    if ended is None or (ended.heads < MAX_STARTS and ended.others < MAX_STARTS * others):
        return None
    what = f"the head of the Ray cluster ended {ended.heads} times"
    if ended.heads < MAX_STARTS:
        what = f"workers of the Ray cluster ended {ended.others} times"
    words = f"{what} before the training began; last {pod_words(ended.last)}"
    return StageFailure(
        failure=FailureClass.INFRASTRUCTURE, reason="RayCannotStart", message=words[:1200].rstrip(". ")
    )
