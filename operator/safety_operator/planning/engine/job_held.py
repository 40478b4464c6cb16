"""Jobs that injected containers keep from their end, or from ending well: see ``cluster.sidecars``."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from safety_operator.api.conditions import Reason
from safety_operator.planning.engine.job_start import StageJob
from safety_operator.planning.engine.problems import pod_words
from safety_operator.planning.engine.stages import Run, View
from safety_operator.state.keys import ObjectKey
from safety_operator.state.reading import is_terminating, is_true
from safety_records.result import FailureClass, StageFailure, StageResult

LINGER = timedelta(seconds=10)
"""What an injected container may take to end after the worker; then its pod is taken away."""


def held_until(run: Run[Any], job: str) -> datetime | None:
    """When a Job whose record is written down is ended, because something injected keeps it from its end.

    None for a Job that ends, or has ended, by itself.
    """
    child, held = run.observed.children.get(ObjectKey("Job", job)), run.observed.held.get(job)
    if child is None or held is None or not held.over or is_terminating(child):
        return None
    if is_true(child, "Complete") or is_true(child, "Failed"):
        return None
    return _due(held.since, run.now)


def _due(since: datetime | None, now: datetime) -> datetime:
    """When the pods of a worker that ended at a time are taken away; at once where that is not known."""
    return since + LINGER if since else now


def held_failure(job: StageJob, name: str) -> StageResult | None:
    """A record for a worker that failed without one while a container next to it runs on."""
    held, failure = job.run.observed.held.get(name), job.run.observed.failures.get(name)
    if held is None or not held.failed or failure is None:
        return None
    words = StageFailure(
        failure=FailureClass.INFRASTRUCTURE, reason=Reason.STAGE_FAILED, message=pod_words(failure)
    )
    return StageResult(stage=job.name, inputs_hash=job.digest, failure=words)


def delete_held(job: StageJob, name: str, view: View, *, in_status: bool) -> View:
    """The view of a Job, with pods taken away whose worker failed and in which another container runs on.

    The Job's controller then counts the failure as it counts any other. ``in_status``: only once the view's
    entry stands in the status, and with it what the pod wrote.
    """
    held = job.run.observed.held.get(name)
    if held is None or not held.failed or name not in view.jobs:
        return view
    before = job.run.before.stage(job.name)
    written = before.job == name and before.result == view.status.result
    due = _due(held.since, job.run.now)
    if due > job.run.now or (in_status and not written):
        return replace(view, retry_at=min(filter(None, (view.retry_at, due))))
    return replace(view, delete=(*view.delete, *(ObjectKey("Pod", pod) for pod in held.failed)))
