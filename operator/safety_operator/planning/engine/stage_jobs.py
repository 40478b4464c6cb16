"""One stage's Job: made, followed, read, tried again. For the engine, once inputs are known."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from safety_operator.api.conditions import Reason, StageStatus
from safety_operator.api.run import RunSpec
from safety_operator.children.metadata import canonical_hash
from safety_operator.children.service import build_rendezvous_service
from safety_operator.children.stage_spec import MAX_SPEC_BYTES, build_spec_map
from safety_operator.children.worker_job import RENDEZVOUS_PORT, build_stage_job, job_name, needs_rendezvous
from safety_operator.planning.engine.problems import Problem, ended_problem, pod_words, start_problem
from safety_operator.planning.engine.servers import ServerState, server_state
from safety_operator.planning.engine.stages import Run, View, Work, pending
from safety_operator.state.keys import Manifest, ObjectKey
from safety_operator.state.labels import (
    ANNOTATION_ATTEMPT,
    ANNOTATION_HASH,
    ANNOTATION_RETRY,
    ANNOTATION_SPEC,
)
from safety_operator.state.observed import Observed
from safety_operator.state.plan import Child
from safety_operator.state.reading import (
    annotation,
    children_of_role,
    condition_of,
    format_time,
    integer,
    is_terminating,
    is_true,
    parse_time,
    value_at,
)
from safety_records.result import FailureClass, StageFailure, StageResult

S = TypeVar("S", bound=RunSpec)

NOT_HASHED = frozenset(
    {
        *("namespace", "kind", "name", "inputs_hash", "root", "out"),
        *("concurrency", "parallelism", "shards"),
        *("checkpoint_steps", "checkpoint_keep"),
        *("folders", "kept"),
    }
)
"""Fields of a specification that do not influence the output: whose it is, where it goes, how fast it is
made, how often it is saved on the way, and what of earlier runs is kept."""

RETRY_SECONDS = (60, 300, 900, 3600)
"""Pause before the next Job after the first, second, third and any later one failed for infrastructure."""
INPUT_RETRY_SECONDS = 3600
"""Pause before data is read again that was wrong and that the operator cannot watch."""
MAX_LOST = 3
"""Jobs that may complete without a record being found before that counts as a failure."""
MAX_LEAVING = 20
"""Attempts whose pods are looked for once their Jobs are gone."""
LINGER = timedelta(seconds=10)
"""What an injected container may take to end after the worker; then its pod is taken away."""


def inputs_hash(work: Work) -> str:
    """Hash of everything that influences a stage's output.

    The operator's own images are left out, those that a spec names are part of ``work.inputs``: an
    upgrade of the operator must not repeat finished evaluations of a whole cluster.
    """
    fields = work.spec.model_dump(mode="json", by_alias=False, exclude=set(NOT_HASHED))
    return canonical_hash({"fields": _hashed(fields) | dict(work.inputs)})


def _hashed(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what says how servers are reached: how many pods one has influences no answer."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items() if key != "pods_url"}
        return [clean(item) for item in value] if isinstance(value, list) else value

    return {key: clean(value) for key, value in fields.items()}


def step(run: Run[S], name: str, work: Work) -> View:
    """Where a stage is, and what to do about it."""
    digest = inputs_hash(work)
    done = _recorded(run, name, digest)
    if done is not None:
        return done
    return follow_stage(run, name, work, digest)


def follow_stage(run: Run[S], name: str, work: Work, digest: str, *, in_status: bool = True) -> View:
    """What the Job of an inputs hash is at, or its start; a success in the status is not asked for.

    ``in_status``: whether the view's entry becomes that of the stage in the status, so that what a failed pod
    said is written there before the pod is taken away.
    """
    job = _Job(run, name, work, digest, in_status)
    existing = [
        (integer(annotation(child, ANNOTATION_ATTEMPT), 1), key, child)
        for key, child in children_of_role(run.observed, "Job", name)
        if annotation(child, ANNOTATION_HASH) == digest
    ]
    if not existing and work.join:
        return replace(pending(run, name), wants_server=True)
    if not existing:
        return job.after_leaving() or job.start(attempt=1)
    attempt, key, child = max(existing, key=lambda item: item[0])
    older = tuple(other for number, other, _ in existing if number < attempt)
    return job.follow(key, child, attempt, older)


def _recorded(run: Run[S], name: str, digest: str) -> View | None:
    """The stage as done, if the status says so."""
    before = run.before.stage(name)
    result = before.record if before.hash == digest else None
    if result is None or result.failure is not None:
        return None
    status = before.model_copy(update={"state": "Succeeded"})
    jobs = [
        key
        for key, child in children_of_role(run.observed, "Job", name)
        if annotation(child, ANNOTATION_HASH) == digest
    ]
    ends = {key: end for key in jobs if (end := held_until(run, key.name)) is not None}
    spent = tuple(key for key, end in ends.items() if end <= run.now)
    return View(
        status,
        done=True,
        result=result,
        jobs=frozenset(key.name for key in jobs if key not in spent),
        delete=spent,
        retry_at=min((end for end in ends.values() if end > run.now), default=None),
    )


def held_until(run: Run[Any], job: str) -> datetime | None:
    """When a Job whose record is written down is ended, because something injected keeps it from its end.

    None for a Job that ends, or has ended, by itself.
    """
    child = run.observed.children.get(ObjectKey("Job", job))
    held = run.observed.held.get(job)
    if child is None or held is None or not held.over or is_terminating(child):
        return None
    if is_true(child, "Complete") or is_true(child, "Failed"):
        return None
    return (held.since or run.now - LINGER) + LINGER


@dataclass(frozen=True, slots=True)
class _Job:
    """A stage with known inputs."""

    run: Run[Any]
    name: str
    work: Work
    digest: str
    in_status: bool = True

    @property
    def reach(self) -> str:
        return "internet" if self.work.shape.internet else "namespace"

    def specification(self) -> str:
        """What the pod is told, as JSON."""
        out = self.run.folder_of(self.name, self.digest)
        return self.work.spec.model_copy(update={"inputs_hash": self.digest, "out": out}).to_json()

    def build(self, attempt: int) -> dict[str, Any]:
        """The Job of an attempt."""
        return build_stage_job(
            self.run.context,
            self.name,
            self.specification(),
            inputs_hash=self.digest,
            attempt=attempt,
            versions=_versions(self.run.observed),
            shape=self.work.shape,
        )

    def status(self, state: str, job: str = "", **fields: Any) -> StageStatus:
        """The stage's entry in the status; its start is kept while hash or Job is the same.

        A proof's hash stands in the status once it is done.
        """
        before = self.run.before.stage(self.name)
        same = before.hash == self.digest or (job and before.job == job)
        started = before.started_at if same else ""
        if state != "Pending" and not started:
            started = format_time(self.run.now)
        entry = {
            "name": self.name,
            "state": state,
            "hash": self.digest,
            "job": job,
            "startedAt": started,
        }
        return StageStatus.model_validate(entry | fields)

    def start(self, attempt: int, *, replaces: tuple[ObjectKey, ...] = (), text: str = "") -> View:
        """Make the Job, once its server is ready."""
        if self.run.spec.suspend:
            return View(self.status("Pending"), text="suspended", delete=replaces)
        size = len(self.specification().encode("utf-8", "surrogatepass"))
        if size > MAX_SPEC_BYTES:
            problem = Problem(
                Reason.INVALID_SPEC,
                f"The specification of stage {self.name} has {size:,} bytes, and a ConfigMap holds "
                f"{MAX_SPEC_BYTES:,}: shorten lists and texts in spec.",
            )
            return View(self.status("Pending"), problem=problem, text=problem.message, delete=replaces)
        manifest = self.build(attempt)
        server = self._server()
        if server is not None and not server.ready:
            return View(
                self.status("Pending"),
                active=server.problem is None or not server.problem.stalled,
                problem=server.problem,
                text=server.text,
                wants_server=True,
                delete=replaces,
            )
        name = manifest["metadata"]["name"]
        return View(
            self.status("Running", name),
            active=True,
            text=text or f"{self.name}: starting",
            jobs=frozenset({name}),
            apply=(*self._companions(name), self._spec_map(), Child(manifest, create_only=True)),
            delete=replaces,
            wants_server=True,
            pod="due",
            reach=self.reach,
        )

    def after_leaving(self) -> View | None:
        """The wait for a pod whose Job somebody deleted: it writes into the same files; None without one."""
        owner, leaving = self.run.owner, self.run.observed.leaving
        names = (job_name(owner, self.name, self.digest, number) for number in range(1, MAX_LEAVING + 1))
        pod = next((leaving[name] for name in names if name in leaving), None)
        if pod is None or self.run.spec.suspend:
            return None
        words = f"pod {pod}, whose Job is gone, has not ended, and the next would write into the same files"
        problem = Problem(Reason.NOT_READY, f"Stage {self.name}: {words}.", stalled=False)
        return View(
            self.status("Pending"),
            active=True,
            problem=problem,
            text=problem.message,
            wants_server=True,
            pod="due",
            reach=self.reach,
        )

    def _spec_map(self) -> Child:
        return Child(build_spec_map(self.run.owner, self.name, self.specification()), create_only=True)

    def _lacks_specification(self, child: Manifest) -> bool:
        """Whether a Job's specification is gone: an operator was killed between the two, say."""
        name = annotation(child, ANNOTATION_SPEC)
        return bool(name) and ObjectKey("ConfigMap", name) not in self.run.observed.children

    def _companions(self, name: str) -> tuple[Child, ...]:
        if needs_rendezvous(self.work.shape):
            service = build_rendezvous_service(self.run.owner, self.name, name, port=RENDEZVOUS_PORT)
            return (Child(service),)
        return ()

    def _server(self) -> ServerState | None:
        """The state of the first server that is not ready, else of the last; None if none is needed."""
        first = (self.work.server,) if self.work.server is not None else ()
        states = [
            server_state(self.run.observed, server, self.run.now)
            for server in (*first, *self.work.more_servers)
        ]
        return next((state for state in states if not state.ready), states[-1] if states else None)

    def follow(self, key: ObjectKey, child: Manifest, attempt: int, older: tuple[ObjectKey, ...]) -> View:
        """What the newest Job of the stage came to."""
        result = self._result(key.name)
        if result is not None and result.failure is None:
            return self._succeeded(key.name, result, older)
        view = self._follow(key, child, attempt, older, result)
        return self._without_held(key.name, view)

    def _follow(
        self,
        key: ObjectKey,
        child: Manifest,
        attempt: int,
        older: tuple[ObjectKey, ...],
        result: StageResult | None,
    ) -> View:
        """What a Job that has not succeeded is at."""
        if is_terminating(child):
            return View(
                self.status("Pending", key.name),
                active=not self.run.spec.suspend,
                text=f"{self.name}: waiting for the previous Job to end",
                jobs=frozenset({key.name}),
                wants_server=not self.run.spec.suspend,
                pod="none" if self.run.spec.suspend else "due",
                reach=self.reach,
            )
        failed = is_true(child, "Failed") or (
            result is not None and result.failure is not None and result.failure.failure is FailureClass.INPUT
        )
        if failed:
            return self._failed(key, child, attempt, older, result)
        if is_true(child, "Complete"):
            return self._lost(key, child, attempt, older)
        return self._running(key, child, attempt, older, result)

    def _result(self, job: str) -> StageResult | None:
        """The record of a Job: its pods', or a failure's that was written down before its pod went."""
        found = self.run.observed.results.get(job) or self._words_of_held(job)
        if found is not None and found.inputs_hash == self.digest:
            return found
        before = self.run.before.stage(self.name)
        kept = before.record if before.job == job else None
        return kept if kept is not None and kept.failure and kept.inputs_hash == self.digest else None

    def _words_of_held(self, job: str) -> StageResult | None:
        """A record for a worker that failed without one while something beside it runs on."""
        held, failure = self.run.observed.held.get(job), self.run.observed.failures.get(job)
        if held is None or not held.failed or failure is None:
            return None
        words = StageFailure(
            failure=FailureClass.INFRASTRUCTURE, reason=Reason.STAGE_FAILED, message=pod_words(failure)
        )
        return StageResult(stage=self.name, inputs_hash=self.digest, failure=words)

    def _without_held(self, job: str, view: View) -> View:
        """The view, with pods taken away whose worker failed beside something that runs on.

        The Job's controller then counts the failure as it counts any other.
        """
        held = self.run.observed.held.get(job)
        if held is None or not held.failed or job not in view.jobs:
            return view
        before = self.run.before.stage(self.name)
        written = before.job == job and before.result == view.status.result
        due = (held.since or self.run.now - LINGER) + LINGER
        if due > self.run.now or (self.in_status and not written):
            return replace(view, retry_at=min(filter(None, (view.retry_at, due))))
        pods = tuple(ObjectKey("Pod", name) for name in held.failed)
        return replace(view, delete=(*view.delete, *pods))

    def _succeeded(self, job: str, result: StageResult, older: tuple[ObjectKey, ...]) -> View:
        status = self.status(
            "Succeeded", job, result=result.to_record(), finishedAt=format_time(self.run.now)
        )
        return View(status, done=True, result=result, jobs=frozenset({job}), delete=older)

    def _running(
        self,
        key: ObjectKey,
        child: Manifest,
        attempt: int,
        older: tuple[ObjectKey, ...],
        result: StageResult | None,
    ) -> View:
        if self.run.spec.suspend:
            return View(self.status("Pending"), text="suspended", delete=(*older, key))
        lacking = self._lacks_specification(child) and not value_at(child, "status", "ready")
        if lacking and annotation(child, ANNOTATION_SPEC) != self._spec_map().manifest["metadata"]["name"]:
            return self.start(attempt + 1, replaces=(*older, key))
        problem = self._start_problem(key.name, child) or self._queued(key.name, child, result)
        hindered = problem is not None and problem.reason == Reason.POD_CANNOT_START
        if hindered and self._token_changed(child):
            return self.start(attempt + 1, replaces=(*older, key))
        text, percent = self._progress(key.name, child, problem, result)
        record = result.to_record() if result is not None else {}
        return View(
            self.status("Running", key.name, result=record),
            active=problem is None or not problem.stalled,
            problem=problem,
            text=text,
            percent=percent,
            jobs=frozenset({key.name}),
            apply=(*self._companions(key.name), *((self._spec_map(),) if lacking else ())),
            delete=older,
            wants_server=True,
            pod=self._pod(key.name, child, problem),
            reach=self.reach,
        )

    def _pod(self, job: str, child: Manifest, problem: Problem | None) -> Literal["none", "due", "runs"]:
        """Whether the pod of a Job that is neither done nor failed runs."""
        hindered = problem is not None and problem.reason != Reason.NOT_READY
        if hindered or is_true(child, "Suspended"):
            return "none"
        return "runs" if value_at(child, "status", "ready") or job in self.run.observed.progress else "due"

    def _progress(
        self, job: str, child: Manifest, problem: Problem | None, result: StageResult | None
    ) -> tuple[str, tuple[int, int, str] | None]:
        progress = self.run.observed.progress.get(job)
        if problem is not None:
            return problem.message, None
        if progress is not None and progress.total:
            shown = min(progress.done, progress.total)
            return f"{self.name} {shown}/{progress.total} {progress.unit}", (
                shown,
                progress.total,
                progress.unit,
            )
        if progress is not None and (progress.message or progress.done):
            return f"{self.name}: {progress.message or f'{progress.done} {progress.unit}'}", None
        wait = self.run.observed.waits.get(job, "")
        return f"{self.name}: {self._before_progress(child, result)}" + (f": {wait}" if wait else ""), None

    def _before_progress(self, child: Manifest, result: StageResult | None) -> str:
        """What a Job without progress does."""
        if is_true(child, "Suspended"):
            queue = self.run.spec.queue_name if self.work.shape.queued else None
            return f"waiting in queue {queue}" if queue else "its Job is suspended"
        if result is not None and result.failure is not None:
            return f"trying again after {result.failure.reason}"
        return (
            "trying again after a pod failed" if integer(value_at(child, "status", "failed")) else "starting"
        )

    def _start_problem(self, job: str, child: Manifest) -> Problem | None:
        """Why one of the Job's pods does not start; None once all of them run."""
        pods = max(1, integer(value_at(child, "spec", "parallelism"), 1)) - integer(
            value_at(child, "status", "succeeded")
        )
        if integer(value_at(child, "status", "ready")) >= max(1, pods):
            return None
        failure = self.run.observed.failures.get(job)
        if failure is None:
            return None
        what = f"Stage {self.name}"
        return start_problem(failure, what) or ended_problem(failure, what)

    def _queued(self, job: str, child: Manifest, result: StageResult | None) -> Problem | None:
        """That a queue holds the Job back, in the queue's own words; None where none does."""
        if not is_true(child, "Suspended"):
            return None
        text, _ = self._progress(job, child, None, result)
        return Problem(Reason.QUEUED, f"Stage {text}", stalled=False)

    def _token_changed(self, child: Manifest) -> bool:
        attempt = integer(annotation(child, ANNOTATION_ATTEMPT), 1)
        token = value_at(self.build(attempt), "metadata", "annotations", ANNOTATION_RETRY)
        return bool(annotation(child, ANNOTATION_RETRY) != token)

    def _lost(self, key: ObjectKey, child: Manifest, attempt: int, older: tuple[ObjectKey, ...]) -> View:
        """The Job completed but its pods are gone: the worker prints its record again when asked again."""
        if attempt <= MAX_LOST:
            return self.start(attempt + 1, replaces=(*older, key), text=f"{self.name}: asking for its record")
        problem = Problem(
            Reason.STAGE_FAILED,
            f"Stage {self.name}: Job {key.name} completed but left no result record, {attempt} times.",
            failed=True,
        )
        return self._wait_for_retry(key, child, attempt, older, problem, seconds=RETRY_SECONDS[-1])

    def _failed(
        self,
        key: ObjectKey,
        child: Manifest,
        attempt: int,
        older: tuple[ObjectKey, ...],
        result: StageResult | None,
    ) -> View:
        failure = result.failure if result is not None else None
        if failure is not None:
            problem = Problem(failure.reason, f"Stage {self.name}: {failure.message}", failed=True)
        else:
            problem = Problem(Reason.STAGE_FAILED, self._words(key.name, child), failed=True)
        seconds: float | None = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS)) - 1]
        if failure is not None and failure.failure is FailureClass.INPUT:
            seconds = INPUT_RETRY_SECONDS if self.work.outside else None
        if self._token_changed(child):
            seconds = 0
        return self._wait_for_retry(key, child, attempt, older, problem, seconds=seconds, result=result)

    def _wait_for_retry(
        self,
        key: ObjectKey,
        child: Manifest,
        attempt: int,
        older: tuple[ObjectKey, ...],
        problem: Problem,
        *,
        seconds: float | None,
        result: StageResult | None = None,
    ) -> View:
        ended = _ended(child, self.run.now)
        retry_at = None if seconds is None else ended + timedelta(seconds=seconds)
        if retry_at is not None and retry_at <= self.run.now:
            return self.start(attempt + 1, replaces=(*older, key))
        if retry_at is not None:
            said = problem.message.rstrip(". ")  # a pod's last words may or may not end as a sentence
            problem = Problem(problem.reason, f"{said}. Next try at {format_time(retry_at)}.", failed=True)
        record = result.to_record() if result is not None else {}
        status = self.status("Failed", key.name, result=record, finishedAt=format_time(ended))
        return View(
            status,
            problem=problem,
            text=problem.message,
            jobs=frozenset({key.name}),
            delete=older,
            retry_at=retry_at,
        )

    def _words(self, job: str, child: Manifest) -> str:
        """The best explanation there is of a failure without a record."""
        failure = self.run.observed.failures.get(job)
        if failure is not None:
            return f"Stage {self.name}: {pod_words(failure)}"
        condition = condition_of(child, "Failed")
        words = f"{condition.get('reason', 'Failed')}: {condition.get('message', '')}"
        return f"Stage {self.name}: Job {job} failed: {words}"


def _ended(child: Manifest, now: datetime) -> datetime:
    """When a Job came to its end."""
    for type_ in ("Failed", "Complete", "FailureTarget"):
        found = parse_time(condition_of(child, type_).get("lastTransitionTime"))
        if found is not None:
            return found
    return now


def _versions(observed: Observed) -> Mapping[str, Any]:
    """Versions of everything that the spec refers to and the operator can watch."""
    return {
        "configMaps": {
            name: value_at(found, "metadata", "resourceVersion", default="") if found else None
            for name, found in observed.config_maps.items()
        },
        "secrets": dict(observed.secrets),
    }
