"""The running proof of a GuardedDeployment: canary prompts to its endpoint, bypass probes at its model.

The last proof's record stands in status.stages; a new Job is due when the model or the rails changed, and
again every ``spec.proof.every``. The Job's hash covers what is proved and the time of the last proof.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from safety_operator.api.conditions import StageStatus
from safety_operator.children.guardrails import SHOWN_CERTIFICATE, shown_mount
from safety_operator.children.metadata import canonical_hash
from safety_operator.children.resources import ResourceSet, Wanted
from safety_operator.children.runtimes.runtime import SERVED_NAME
from safety_operator.children.worker_job import JobShape
from safety_operator.planning.engine.job_held import held_until
from safety_operator.planning.engine.stage_jobs import follow_stage
from safety_operator.planning.engine.stages import View, Work
from safety_operator.planning.guarded_deployment.deployment_parts import GuardedRun, Parts, retry_of
from safety_operator.planning.guarded_deployment.outside import OutsideView, follow_outside
from safety_operator.planning.guarded_deployment.roles import CANDIDATE_PROOF, PROVE_ROLE
from safety_operator.planning.shared.durations import seconds_of
from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import ANNOTATION_HASH
from safety_operator.state.reading import (
    annotation,
    children_of_role,
    condition_of,
    format_time,
    generation_of,
    is_terminating,
    is_true,
    parse_time,
)
from safety_records.result import Proof
from safety_records.stage_base import ServedModel
from safety_records.stages import ProveStage

OVERDUE_PERIODS = 3
"""Pauses between proofs after which the last is not believed any more: one may fail and be tried again."""
MIN_SECONDS = 30
"""Shortest pause between proofs, whatever the spec says: a proof takes the model's time."""
DEADLINE_SECONDS = 900
SCRATCH = "file:///tmp/proof"
"""Artifact root of a proof: its record says all, so nothing is kept, and the pod mounts no store."""
SHAPE = JobShape(
    role="proof",
    resources=Wanted(ResourceSet(requests={"cpu": "50m", "memory": "256Mi"})),
    backoff_limit=1,
    deadline_seconds=DEADLINE_SECONDS,
    artifacts=False,
    queued=False,
)


@dataclass(frozen=True, slots=True)
class ProofView:
    """What is known from proofs, and what is to be done for the next one."""

    stage: StageStatus
    proof: Proof | None = None
    """Of the last proof of this very model behind these very rails."""
    at: datetime | None = None
    view: View | None = None
    """The Job that is due or runs."""
    next_at: datetime | None = None
    overdue_at: datetime | None = None
    """When the last proof becomes too old to be believed."""
    overdue: str = ""
    """Why there is no newer one, once it is too old; empty while it is not."""
    outside: OutsideView = field(default_factory=OutsideView)
    """The half of it that another namespace gives."""
    delete: tuple[ObjectKey, ...] = ()


def advance_proof(
    parts: Parts, digest: str, config_hash: str, *, serving: bool, renew: datetime | None = None
) -> ProofView:
    """Where the proof is.

    Parameters
    ----------
    parts
        The resource.
    digest
        Digest of the model that answers now, which during an update is the one before.
    config_hash
        Hash of the rails' configuration that answers now.
    serving
        Whether model and rails answer; no proof is started before. One that runs goes on: pods that are
        replaced, or a Deployment that somebody annotates, are no reason to begin again.
    renew
        Moment at which another proof is due, if the last is from before; None: after the pause only.
    """
    found = _look(parts, digest, config_hash, serving=serving, renew=renew)
    if found.at is None:
        return found
    run = parts.run
    overdue_at = found.at + timedelta(seconds=OVERDUE_PERIODS * _pause(run))
    text = _overdue_text(run, found, serving=serving) if overdue_at <= run.now else ""
    return replace(found, overdue_at=overdue_at, overdue=text)


def _overdue_text(run: GuardedRun, view: ProofView, *, serving: bool) -> str:
    """Since when there has been no proof, and why."""
    at = format_time(view.at) if view.at else ""
    why = "model and guardrails are not ready" if not serving else "the proof has not finished"
    if view.view is not None and view.view.text:
        why = view.view.problem.message if view.view.problem else view.view.text
    return (
        f"No proof since {at}, for longer than {OVERDUE_PERIODS} times spec.proof.every "
        f"({run.spec.proof.every}): {why.removesuffix('.')}."
    )


def _look(parts: Parts, digest: str, config_hash: str, *, serving: bool, renew: datetime | None) -> ProofView:
    run, role = parts.run, parts.proof_role
    basis = _basis(parts, digest, config_hash)
    before = _before(run, role, basis)
    result = before.record if before.hash == basis else None
    at = parse_time(before.finished_at) if result else None
    stage = before if result else StageStatus(name=role, state="Pending")
    known = ProofView(stage, result.proof if result else None, at)
    job = before.job if result else ""
    due = at + timedelta(seconds=_pause(run)) if at else run.now
    if at and renew and at <= renew:
        due = min(due, renew)
    if due > run.now:
        end = held_until(run, job)
        kept = frozenset({job} if end is None or end > run.now else ())
        return replace(known, next_at=min(due, end or due), delete=_other_jobs(run, role, kept))
    inputs = canonical_hash([basis, format_time(at) if at else _first(parts)])
    if not (serving and digest and config_hash) and not _goes_on(run, role, inputs):
        return replace(known, delete=_other_jobs(run, role, frozenset({job})))
    view = follow_stage(run, role, _work(parts), inputs, in_status=False)
    proof = view.result.proof if view.result else None
    outside = follow_outside(parts, inputs) if view.active or proof else OutsideView()
    if proof is not None and outside.seen is not None:
        return _finished(parts, view, basis, proof.model_copy(update={"outside": outside.seen}), outside)
    if proof is not None:
        status = view.status.model_copy(update={"state": "Running", "finished_at": "", "result": {}})
        view = replace(view, status=status, done=False, active=True, text=outside.text)
    stage = known.stage if result else view.status.model_copy(update={"hash": ""})
    kept = view.jobs | {job}
    old = (*view.delete, *_other_jobs(run, role, kept))
    return replace(known, stage=stage, view=view, outside=outside, delete=old)


def _finished(parts: Parts, view: View, basis: str, proof: Proof, outside: OutsideView) -> ProofView:
    """The view of a proof both of whose pods are over."""
    assert view.result is not None
    run, role = parts.run, parts.proof_role
    ended = _ended(run, view)
    fields = {"hash": basis, "finished_at": format_time(ended), "state": "Succeeded"}
    record = view.result.model_copy(update={"proof": proof}).to_record()
    stage = view.status.model_copy(update=fields | {"result": record})
    fresh = ended + timedelta(seconds=_pause(run))
    old = _other_jobs(run, role, view.jobs)
    return ProofView(stage, proof, ended, next_at=fresh, outside=outside, delete=old)


def _first(parts: Parts) -> str | int:
    """What a first proof goes by: of a version that is to get requests again when somebody asked for it."""
    if not parts.candidate:
        return ""
    generation, retry = generation_of(parts.run.observed.resource), retry_of(parts.run)
    return f"{generation} {retry}" if retry else generation


def _before(run: GuardedRun, role: str, basis: str) -> StageStatus:
    """The last proof, which a version that has just got the requests brings with it."""
    before, brought = run.before.stage(role), run.before.stage(CANDIDATE_PROOF)
    if role == PROVE_ROLE and before.hash != basis and brought.hash == basis:
        return brought.model_copy(update={"name": role})
    return before


def _goes_on(run: GuardedRun, role: str, inputs: str) -> bool:
    """Whether the Job of a proof is there and has not failed."""
    return any(
        annotation(child, ANNOTATION_HASH) == inputs and not is_true(child, "Failed")
        for _, child in children_of_role(run.observed, "Job", role)
        if not is_terminating(child)
    )


def _ended(run: GuardedRun, view: View) -> datetime:
    """When the proof's Job ended: an operator that was away must not take an old proof for a new one."""
    jobs = [run.observed.children.get(ObjectKey("Job", name)) for name in view.jobs]
    ends = [parse_time(condition_of(job, "Complete").get("lastTransitionTime")) for job in jobs]
    return min((end for end in ends if end), default=run.now)


def _basis(parts: Parts, digest: str, config_hash: str) -> str:
    """Hash of what is proved: the model, the rails, the prompts."""
    proof = parts.run.spec.proof
    drawn = [proof.languages, proof.draw] if proof.languages else []
    return canonical_hash([digest, config_hash, proof.unsafe, proof.benign, parts.endpoint_url, *drawn])


def _pause(run: GuardedRun) -> int:
    return max(MIN_SECONDS, seconds_of(run.spec.proof.every))


def _other_jobs(run: GuardedRun, role: str, kept: frozenset[str]) -> tuple[ObjectKey, ...]:
    """Jobs of earlier proofs: the last one is kept for those who want to read its log."""
    return tuple(
        key
        for key, child in children_of_role(run.observed, "Job", role)
        if key.name not in kept and not is_terminating(child)
    )


def _work(parts: Parts) -> Work:
    run, key, endpoint = parts.run, parts.own_key, parts.run.spec.model.endpoint
    direct = ServedModel(base_url=parts.direct_url, model=SERVED_NAME)
    if endpoint is not None:
        direct = ServedModel(base_url=endpoint.url.rstrip("/"), model=endpoint.model)
    spec = ProveStage(
        **(run.base() | {"root": SCRATCH}),
        guarded=ServedModel(
            base_url=parts.proof_url,
            model=parts.served_name,
            api_key_env=key.name,
            certificate=SHOWN_CERTIFICATE if parts.certificate else "",
        ),
        direct=direct,
        unsafe=tuple(run.spec.proof.unsafe),
        benign=tuple(run.spec.proof.benign),
        refusal=run.spec.guardrails.refusal,
        languages=tuple(run.spec.proof.languages),
        each=run.spec.proof.draw if run.spec.proof.languages else 0,
        pods_url="" if endpoint else parts.pods_url,
        direct_is_foreign=endpoint is not None,
    )
    shape = replace(SHAPE, internet=True) if endpoint else SHAPE
    mounts = (shown_mount(parts.certificate),) if parts.certificate else ()
    return Work(spec, shape=replace(shape, secret_env=(key,), mounts=mounts))
