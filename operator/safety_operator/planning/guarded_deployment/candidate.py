"""The version that is to take the requests: it comes up, is proven, gets a share of them, and then all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from safety_operator.api.guarded_rollout import CandidateStatus, FailedVersion
from safety_operator.planning.engine.conditions import shorten
from safety_operator.planning.guarded_deployment.deployment_parts import (
    GuardedRun,
    Parts,
    retry_of,
    status_before,
)
from safety_operator.planning.guarded_deployment.exposure import is_routed
from safety_operator.planning.guarded_deployment.policies import is_open
from safety_operator.planning.guarded_deployment.proof import ProofView, advance_proof
from safety_operator.planning.guarded_deployment.proof_findings import proof_updates
from safety_operator.planning.guarded_deployment.rails_config import config_hash
from safety_operator.planning.guarded_deployment.roles import CANDIDATE_PROOF
from safety_operator.planning.guarded_deployment.rollouts import Rollout, rollouts_of
from safety_operator.planning.guarded_deployment.target import Target
from safety_operator.planning.guarded_deployment.tracks import Tracks, has_no_pods, told_version
from safety_operator.state.reading import format_time, generation_of, parse_time

OPENING = timedelta(seconds=5)
"""Time for network plugins to follow a NetworkPolicy before requests are led to its pods."""
ROUTE_WAITS = (
    "it is proven; its weights wait for the HTTPRoute, which each Gateway has to take as it is now "
    "(see Exposed, and status.parents of the HTTPRoute)"
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """The version of the spec on the track without requests of the Service."""

    parts: Parts
    proof: ProofView
    status: CandidateStatus
    text: str
    """What it waits for, for people."""
    failure: str = ""
    """What is wrong with it by its proof, or what it waited for too long; empty: nothing."""
    promoted: bool = False
    """Whether it takes all requests now."""
    due: datetime | None = None
    """When the present step may end."""
    open_from: datetime | None = None
    """When all network plugins let everybody in; None: it is open, or not to be opened yet."""
    deadline: datetime | None = None
    """When it has failed, if nothing moves until then; None: never."""


def find_candidate(tracks: Tracks, target: Target | None) -> Candidate | None:
    """How the version on the other track is; None: none is to come up."""
    if not tracks.version or target is None:
        return None
    parts = tracks.other
    run = parts.run
    rollouts = rollouts_of(parts)
    up = told_version(parts) == tracks.version and all(map(_is_up, rollouts.values()))
    status = _known(run, tracks, target)
    parts = replace(parts, opened=bool(status.opened_at))
    if up and not status.ready_at:
        status = status.model_copy(update={"ready_at": format_time(run.now)})
    due = _step_end(run, status)
    proof = advance_proof(
        parts, parts.rolled_model(), parts.rolled_config(), serving=up and not run.spec.suspend, renew=due
    )
    updates = proof_updates(proof, Decimal(run.spec.proof.min_benign))
    failure = " ".join(update.message for update in updates if update.status == "False")
    if failure:
        return Candidate(parts, proof, _begun_anew(run, status), "", f"Its proof failed: {failure}")
    if not up:
        back = _begun_anew(run, status)
        return _in_time(Candidate(parts, proof, back, _waits_for(rollouts)), target)
    found = Candidate(parts, proof, status, _proving(run, proof, status, due), due=due)
    good = all(update.status == "True" for update in updates) and _is_recorded(run, proof)
    if good and (due is None or (proof.at is not None and proof.at > due)):
        weights = [] if target.why or has_no_pods(tracks.live) else run.spec.rollout.weights
        found = _open(found) or _advance(found, weights)
    return _in_time(found, target)


def _begun_anew(run: GuardedRun, status: CandidateStatus) -> CandidateStatus:
    """Without a share of the requests; one that lost its share has time again."""
    times = {"since": format_time(run.now), "ready_at": ""} if status.step else {}
    return status.model_copy(update={"step": 0, "weight": 0, "step_started_at": "", **times})


def _in_time(found: Candidate, target: Target) -> Candidate:
    """The same, or failed where it has not moved for too long; a way back from a regression has time."""
    run, status = found.parts.run, found.status
    began = found.due or parse_time(status.ready_at) or parse_time(status.since)
    if found.promoted or target.why or began is None:
        return found
    seconds = run.spec.rollout.progress_deadline_seconds
    deadline = began + timedelta(seconds=seconds)
    if run.now < deadline:
        return replace(found, deadline=deadline)
    late = f"It made no progress for {seconds} s (spec.rollout.progressDeadlineSeconds): {found.text}"
    status = status.model_copy(update={"step": 0, "weight": 0, "step_started_at": ""})
    return replace(found, status=status, failure=f"{late.rstrip('.')}.")


def _known(run: GuardedRun, tracks: Tracks, target: Target) -> CandidateStatus:
    """The entry of this very version, or a new one."""
    before = status_before(run).rollout
    known = before.candidate if before else None
    if known is not None and (known.track, known.version) == (tracks.other.track, tracks.version):
        return known if known.since else known.model_copy(update={"since": format_time(run.now)})
    return CandidateStatus(
        track=tracks.other.track,
        model_digest=target.model.digest,
        config_hash=config_hash(tracks.other),
        version=tracks.version,
        since=format_time(run.now),
    )


def _step_end(run: GuardedRun, status: CandidateStatus) -> datetime | None:
    """When the present step of weights may end; None: there is none."""
    began = parse_time(status.step_started_at)
    return began + timedelta(seconds=run.spec.rollout.step_seconds) if began else None


def _is_up(rollout: Rollout) -> bool:
    """Whether all pods are there that are to take all requests, not only the fewest of an autoscaler."""
    pods = rollout.pods
    return rollout.complete and pods is not None and pods.new_ready >= pods.wanted


def _waits_for(rollouts: dict[str, Rollout]) -> str:
    waits = [rollout for rollout in rollouts.values() if not _is_up(rollout)]
    words = waits[0].problem.message if waits and waits[0].problem else waits[0].text if waits else ""
    return words or "its Deployments are being made"


def _proving(run: GuardedRun, proof: ProofView, status: CandidateStatus, due: datetime | None) -> str:
    view = proof.view
    words = (view.problem.message if view.problem else view.text) if view else ""
    if due is None:
        return f"it is up, and gets requests when its proof is good: {words or 'proving'}"
    steps, end = len(run.spec.rollout.weights), format_time(due)
    share = f"it has {status.weight} % of the HTTPRoute's requests (step {status.step} of {steps})"
    return f"{share} until a good proof from after {end}" + (f": {words}" if words else "")


def _is_recorded(run: GuardedRun, proof: ProofView) -> bool:
    """Whether the status has the proof: what it does not know yet must not move requests."""
    before = run.before.stage(CANDIDATE_PROOF)
    return bool(before.hash) and (before.hash, before.finished_at) == (
        proof.stage.hash,
        proof.stage.finished_at,
    )


def _open(found: Candidate) -> Candidate | None:
    """Who asks is let in before any request is led there; None: it is open."""
    run, status = found.parts.run, found.status
    began = parse_time(status.opened_at)
    if began is not None and is_open(found.parts) and run.now >= began + OPENING:
        return None
    status = status.model_copy(update={"opened_at": status.opened_at or format_time(run.now)})
    return replace(
        found,
        parts=replace(found.parts, opened=True),
        status=status,
        open_from=(began or run.now) + OPENING,
        text="it is proven; its NetworkPolicy opens it before requests come",
    )


def _advance(found: Candidate, weights: Sequence[int]) -> Candidate:
    """The next step, or all requests."""
    run, status = found.parts.run, found.status
    if weights and not is_routed(found.parts, status.weight):
        return replace(found, text=ROUTE_WAITS)
    if status.step >= len(weights):
        return replace(found, promoted=True, text="it takes all requests")
    step = status.step + 1
    entry = {"step": step, "weight": weights[step - 1], "step_started_at": format_time(run.now)}
    status = status.model_copy(update=entry)
    due = _step_end(run, status)
    return replace(found, status=status, due=due, text=_proving(run, found.proof, status, due))


def failed_version(parts: Parts, version: str, message: str) -> FailedVersion:
    """The record of a version that failed."""
    return FailedVersion(
        track=parts.track,
        model_digest=parts.rolled_model(),
        config_hash=parts.rolled_config(),
        version=version,
        at=format_time(parts.run.now),
        generation=generation_of(parts.run.observed.resource),
        retry=retry_of(parts.run),
        message=shorten(message, 1024),
    )
