"""One stage's Job: made, followed, read, tried again. For the engine, once inputs are known."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from safety_operator.planning.engine.job_held import delete_held, held_failure, held_until
from safety_operator.planning.engine.job_running import ending, running
from safety_operator.planning.engine.job_start import StageJob
from safety_operator.planning.engine.job_tries import Try, after_failure, after_loss
from safety_operator.planning.engine.ray_start import was_ended
from safety_operator.planning.engine.stage_hash import inputs_hash
from safety_operator.planning.engine.stages import Run, View, Work, pending
from safety_operator.state.keys import Manifest, ObjectKey
from safety_operator.state.labels import ANNOTATION_ATTEMPT, ANNOTATION_HASH
from safety_operator.state.reading import (
    annotation,
    format_time,
    integer,
    is_terminating,
    is_true,
    runs_of_role,
)
from safety_records.result import FailureClass, StageResult


def step(run: Run[Any], name: str, work: Work) -> View:
    """Where a stage is, and what to do about it."""
    digest = inputs_hash(work)
    return _recorded(run, name, digest) or follow_stage(run, name, work, digest)


def follow_stage(run: Run[Any], name: str, work: Work, digest: str, *, in_status: bool = True) -> View:
    """What the Job of an inputs hash is at, or its start; a success in the status is not asked for.

    ``in_status``: whether the view's entry becomes that of the stage in the status, so that what a failed pod
    wrote stands there before the pod is taken away.
    """
    job, last = StageJob(run, name, work, digest), _last_try(run, name, digest)
    if last is None:
        if work.join:
            return replace(pending(run, name), wants_server=True)
        return job.wait_for_leaving() or job.start(attempt=1)
    last = last._replace(result=_result(job, last.name))
    if last.result is not None and last.result.failure is None:
        return _succeeded(job, last, last.result)
    return delete_held(job, last.name, _unfinished(job, last), in_status=in_status)


def _jobs(run: Run[Any], name: str, digest: str) -> Iterator[tuple[ObjectKey, Manifest]]:
    """The Jobs and RayJobs of a stage with an inputs hash."""
    for key, child in runs_of_role(run.observed, name):
        if annotation(child, ANNOTATION_HASH) == digest:
            yield key, child


def _last_try(run: Run[Any], name: str, digest: str) -> Try | None:
    """The newest Job, without its record; None where there is none."""
    tries = [
        (integer(annotation(child, ANNOTATION_ATTEMPT), 1), key, child)
        for key, child in _jobs(run, name, digest)
    ]
    if not tries:
        return None
    number, key, child = max(tries, key=lambda item: item[0])
    older = tuple(other for least, other, _ in tries if least < number)
    return Try(key.name, child, number, older, None, kind=key.kind)


def _recorded(run: Run[Any], name: str, digest: str) -> View | None:
    """The stage as done, if the status says so."""
    before = run.before.stage(name)
    result = before.record if before.hash == digest else None
    if result is None or result.failure is not None:
        return None
    jobs = [key for key, _ in _jobs(run, name, digest)]
    ends = {key: end for key in jobs if (end := held_until(run, key.name)) is not None}
    spent = tuple(key for key, end in ends.items() if end <= run.now)
    return View(
        before.model_copy(update={"state": "Succeeded"}),
        done=True,
        result=result,
        jobs=frozenset(key.name for key in jobs if key not in spent),
        delete=spent,
        retry_at=min((end for end in ends.values() if end > run.now), default=None),
    )


def _result(job: StageJob, name: str) -> StageResult | None:
    """The record of a Job: its pods', or a failure's that was written down before its pod went."""
    found = job.run.observed.results.get(name) or held_failure(job, name)
    if found is not None and found.inputs_hash == job.digest:
        return found
    before = job.run.before.stage(job.name)
    kept = before.record if before.job == name else None
    return kept if kept is not None and kept.failure and kept.inputs_hash == job.digest else None


def _succeeded(job: StageJob, last: Try, result: StageResult) -> View:
    now = format_time(job.run.now)
    entry = job.entry("Succeeded", last.name, result=result.to_record(), finishedAt=now)
    return View(entry, done=True, result=result, jobs=frozenset({last.name}), delete=last.older)


def _unfinished(job: StageJob, last: Try) -> View:
    """What a Job that has not succeeded is at."""
    if is_terminating(last.child):
        return ending(job, last)
    failure = last.result.failure if last.result is not None else None
    if (
        is_true(last.child, "Failed")
        or was_ended(last)
        or (failure is not None and failure.failure is FailureClass.INPUT)
    ):
        return after_failure(job, last)
    if is_true(last.child, "Complete"):
        return after_loss(job, last)
    return running(job, last)
