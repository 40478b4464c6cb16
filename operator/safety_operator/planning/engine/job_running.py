"""A Job of a stage that is neither done nor failed: how far it is, or what holds it back."""

from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from safety_operator.api.conditions import Reason
from safety_operator.planning.engine.job_start import StageJob
from safety_operator.planning.engine.job_tries import Try, next_try, token_changed
from safety_operator.planning.engine.problems import Problem, ended_problem, start_problem
from safety_operator.planning.engine.ray_start import unable_to_start
from safety_operator.planning.engine.stages import View
from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import ANNOTATION_SPEC
from safety_operator.state.reading import annotation, integer, is_true, parse_time, value_at

KUBERAY_SECONDS = 60
"""After it, a RayJob that KubeRay's operator has not looked at is told."""
LEAVING_SECONDS = 120
"""After it, and the grace period of its pods, a RayJob that is being deleted and is still there is told."""


class Overdue(NamedTuple):
    """Whether KubeRay has let a RayJob wait for too long."""

    problem: Problem | None = None
    look_at: datetime | None = None
    """When that may become so."""


def ending(job: StageJob, last: Try) -> View:
    """The wait for a Job that is being deleted."""
    going_on = not job.run.spec.suspend
    problem, look_at = _kept_by_kuberay(job, last)
    return View(
        job.entry("Pending", last.name),
        active=going_on,
        problem=problem,
        text=problem.message if problem else f"{job.name}: waiting for the previous Job to end",
        retry_at=look_at,
        jobs=frozenset({last.name}),
        wants_server=going_on,
        pod="due" if going_on else "none",
        reach=job.reach,
    )


def running(job: StageJob, last: Try) -> View:
    """How far a Job is; it is made anew where its pod could not start and might now."""
    if job.run.spec.suspend:
        return View(job.entry("Pending"), text="suspended", delete=last.all)
    ended = unable_to_start(job, last)
    if ended is not None:
        return ended
    if last.name in job.run.observed.headless:
        return next_try(job, last, f"{job.name}: starting again after its Ray head was lost")
    lacking = _lacks_specification(job, last)
    if lacking and annotation(last.child, ANNOTATION_SPEC) != job.spec_map().manifest["metadata"]["name"]:
        return next_try(job, last)
    unseen, look_at = _unseen(job, last)
    problem = _start_problem(job, last) or _queued(job, last) or unseen
    if problem is not None and problem.reason == Reason.POD_CANNOT_START and token_changed(job, last):
        return next_try(job, last)
    text, percent = (problem.message, None) if problem is not None else _progress(job, last)
    return View(
        job.entry("Running", last.name, result=last.result.to_record() if last.result is not None else {}),
        active=problem is None or not problem.stalled,
        problem=problem,
        text=text,
        percent=percent,
        jobs=frozenset({last.name}),
        apply=(*job.rendezvous(last.name), *((job.spec_map(),) if lacking else ())),
        delete=last.older,
        retry_at=look_at,
        wants_server=True,
        pod=_pod(job, last, problem),
        reach=job.reach,
    )


def _unseen(job: StageJob, last: Try) -> Overdue:
    """That KubeRay's operator does not look at a RayJob."""
    if last.kind != "RayJob" or value_at(last.child, "status", "seen"):
        return Overdue()
    words = (
        f"Stage {job.name}: KubeRay's operator has not looked at RayJob {last.name}: see whether it runs and "
        "watches this namespace, or set spec.compute.launcher to job."
    )
    return _overdue(job, last, "creationTimestamp", KUBERAY_SECONDS, words)


def _kept_by_kuberay(job: StageJob, last: Try) -> Overdue:
    """That a RayJob does not go because nobody takes its finalizer away."""
    if last.kind != "RayJob":
        return Overdue()
    words = (
        f"Stage {job.name}: RayJob {last.name} is to be deleted and waits for KubeRay's operator: see "
        "whether that runs. If KubeRay was removed for good: "
        f"kubectl patch rayjob {last.name} -n {job.run.owner.namespace} --type=merge "
        """-p '{"metadata":{"finalizers":null}}'."""
    )
    seconds = LEAVING_SECONDS + job.work.shape.grace_seconds
    return _overdue(job, last, "deletionTimestamp", seconds, words)


def _overdue(job: StageJob, last: Try, since: str, seconds: int, words: str) -> Overdue:
    began = parse_time(value_at(last.child, "metadata", since))
    due = began + timedelta(seconds=seconds) if began else None
    if due is not None and due <= job.run.now:
        return Overdue(Problem(Reason.KUBERAY_MISSING, words, stalled=False))
    return Overdue(None, due)


def _lacks_specification(job: StageJob, last: Try) -> bool:
    """Whether a Job waits for a specification that is gone: an operator was killed between the two, say."""
    name = annotation(last.child, ANNOTATION_SPEC)
    gone = bool(name) and ObjectKey("ConfigMap", name) not in job.run.observed.children
    return gone and not value_at(last.child, "status", "ready")


def _pod(job: StageJob, last: Try, problem: Problem | None) -> Literal["none", "due", "runs"]:
    """Whether the pod runs."""
    hindered = problem is not None and problem.reason != Reason.NOT_READY
    if hindered or is_true(last.child, "Suspended"):
        return "none"
    ready = value_at(last.child, "status", "ready")
    return "runs" if ready or last.name in job.run.observed.progress else "due"


def _progress(job: StageJob, last: Try) -> tuple[str, tuple[int, int, str] | None]:
    """What it does, for people; and done, total and unit where it counts."""
    progress = job.run.observed.progress.get(last.name)
    if progress is not None and progress.total:
        done = min(progress.done, progress.total)
        counted = done, progress.total, progress.unit
        in_words = progress.unit == "bytes" and progress.message
        text = f": {progress.message}" if in_words else f" {done}/{progress.total} {progress.unit}"
        return f"{job.name}{text}", counted
    if progress is not None and (progress.message or progress.done):
        return f"{job.name}: {progress.message or f'{progress.done} {progress.unit}'}", None
    return _before_progress(job, last), None


def _before_progress(job: StageJob, last: Try) -> str:
    """What a Job without progress does."""
    if is_true(last.child, "Suspended"):
        queue = job.run.spec.queue_name if job.work.shape.queued else None
        text = f"waiting in queue {queue}" if queue else "its Job is suspended"
    elif last.result is not None and last.result.failure is not None:
        text = f"trying again after {last.result.failure.reason}"
    elif integer(value_at(last.child, "status", "failed")):
        text = "trying again after a pod failed"
    elif last.kind == "RayJob" and not value_at(last.child, "status", "seen"):
        text = "waiting for KubeRay's operator"
    else:
        text = "starting"
    wait = job.run.observed.waits.get(last.name)
    return f"{job.name}: {text}: {wait}" if wait else f"{job.name}: {text}"


def _start_problem(job: StageJob, last: Try) -> Problem | None:
    """Why one of the Job's pods does not start; None once all of them run."""
    status = value_at(last.child, "status", default={})
    parallelism = max(1, integer(value_at(last.child, "spec", "parallelism"), 1))
    wanted = max(1, parallelism - integer(value_at(status, "succeeded")))
    failure = job.run.observed.failures.get(last.name)
    if failure is None or integer(value_at(status, "ready")) >= wanted:
        return None
    what = f"Stage {job.name}"
    return start_problem(failure, what) or ended_problem(failure, what)


def _queued(job: StageJob, last: Try) -> Problem | None:
    """That a queue holds the Job back, in the queue's own words; None where none does."""
    if not is_true(last.child, "Suspended"):
        return None
    return Problem(Reason.QUEUED, f"Stage {_progress(job, last)[0]}", stalled=False)
