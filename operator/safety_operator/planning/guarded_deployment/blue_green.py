"""Strategy BlueGreen: what is applied and taken away on both tracks, and what the status says of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from safety_operator.api.conditions import ConditionType, Reason, StageStatus
from safety_operator.api.guarded_rollout import CandidateStatus, FailedVersion, RolloutStatus, TrackVersion
from safety_operator.children.server_files import build_files_map
from safety_operator.planning.engine.conditions import ConditionUpdate
from safety_operator.planning.guarded_deployment.candidate import Candidate, failed_version, find_candidate
from safety_operator.planning.guarded_deployment.deployment_parts import Parts, status_before
from safety_operator.planning.guarded_deployment.exposure import exposure_children
from safety_operator.planning.guarded_deployment.model_children import model_server
from safety_operator.planning.guarded_deployment.outside import OutsideView
from safety_operator.planning.guarded_deployment.proof import ProofView
from safety_operator.planning.guarded_deployment.rails_children import (
    preview_service,
    rails_server,
)
from safety_operator.planning.guarded_deployment.roles import CANDIDATE_PROOF
from safety_operator.planning.guarded_deployment.rollouts import rollouts_of
from safety_operator.planning.guarded_deployment.scaling import scaling_children
from safety_operator.planning.guarded_deployment.target import Target
from safety_operator.planning.guarded_deployment.track_children import (
    entry_services,
    shared_children,
    tracked_children,
)
from safety_operator.planning.guarded_deployment.tracks import (
    BLUE_GREEN,
    DRAIN,
    Tracks,
    find_tracks,
    has_no_pods,
    is_draining,
    is_empty,
    told,
    told_version,
    unneeded,
)
from safety_operator.state.keys import ObjectKey
from safety_operator.state.plan import Child
from safety_operator.state.reading import children_of_role, format_time, is_terminating, parse_time

RECORD_SECONDS = 1.0
"""Pause until a look with what this plan writes into the status."""
AGAIN = "Change the spec to try again, or use kubectl safety rollout retry."
ROOM = "Both versions need room meanwhile; spec.rollout.strategy Rolling replaces pods in place."


@dataclass(frozen=True, slots=True)
class BlueGreen:
    """Both tracks, and the target that was found for them."""

    tracks: Tracks
    target: Target | None
    candidate: Candidate | None
    known: RolloutStatus | None
    """What the status says, with a change of the Service that it does not know yet; None: no tracks."""
    shut: bool
    """Whether the gate is shut for the model of the spec."""

    @property
    def live(self) -> Parts:
        """The track that the endpoint's Service leads to."""
        return self.tracks.live

    @property
    def holds(self) -> bool:
        """Whether the live track's servers stay as they are."""
        return self.tracks.holds

    @property
    def stays(self) -> bool:
        """Whether they do, and no other version is to come up either."""
        return self.tracks.holds and self.candidate is None

    @property
    def wanted(self) -> Parts:
        """The track of the version that the spec asks for, as far as there is to be one."""
        return self.candidate.parts if self.candidate else self.tracks.live

    @property
    def selected(self) -> Parts:
        """The track that the endpoint's Service is to lead to from now on."""
        if self.tracks.back:
            return replace(self.tracks.other, held=True)
        return self.candidate.parts if self.candidate and self.candidate.promoted else self.tracks.live

    @property
    def has_other(self) -> bool:
        """Whether anything of the other track is there."""
        return self.known is not None and not is_empty(self.tracks.other)

    @property
    def renew(self) -> datetime | None:
        """Since when a proof of the live track has to be: a version that got the requests is proven there."""
        return parse_time(self.known.switched_at) if self.known and self.known.previous else None


def look_at_tracks(live: Parts, target: Target | None, *, shut: bool) -> BlueGreen:
    """Both tracks as they are; ``live``: the one that has the requests, as the spec wants it."""
    tracks = find_tracks(live, target)
    candidate = find_candidate(tracks, target)
    return BlueGreen(tracks, target, candidate, _known(tracks), shut)


def stop(view: BlueGreen, live: Parts, target: Target) -> BlueGreen:
    """The same with no pods of the live track; ``target``: with none of what it was told to serve."""
    return replace(view, tracks=replace(view.tracks, live=live), target=target)


def _known(tracks: Tracks) -> RolloutStatus | None:
    run, known = tracks.live.run, status_before(tracks.live.run).rollout
    if run.spec.rollout.strategy != BLUE_GREEN and known is None and tracks.live.track == "blue":
        return None
    live = told(tracks.live)
    if known is None:
        return RolloutStatus(live=live)
    if known.live.track == live.track:
        return known.model_copy(update={"live": live})
    left_failed = known.failed is not None and known.failed.track == known.live.track
    previous = None if left_failed else known.live
    entry = {"live": live, "switched_at": format_time(run.now), "previous": previous, "candidate": None}
    return known.model_copy(update=entry)


def held_children(view: BlueGreen) -> tuple[Child, ...]:
    """What is applied while the live track's servers stay as they are: the candidate, and who is asked."""
    live, candidate = view.live, view.candidate
    children = [
        *shared_children(live),
        *(item for item in tracked_children(live) if item.manifest["kind"] in {"NetworkPolicy", "Service"}),
    ]
    if candidate is not None and view.target is not None:
        parts = candidate.parts
        files = Child(build_files_map(live.run.owner), create_only=True)
        children += [
            *tracked_children(parts),
            preview_service(parts),
            files,
            model_server(parts, view.target.model),
            rails_server(parts),
        ]
        children += [
            item for item in scaling_children(parts) if item.manifest["kind"] == "PodDisruptionBudget"
        ]
    weighted = (candidate.parts, candidate.status.weight) if candidate and candidate.status.weight else None
    return (*children, *entry_services(view.selected), *exposure_children(live, weighted))


def taken_away(view: BlueGreen, proof: ProofView, *, proven: bool) -> tuple[ObjectKey, ...]:
    """What of the track without requests is not needed any more, and proofs of no candidate."""
    run = view.live.run
    if view.known is None:
        return ()
    gone: list[ObjectKey] = []
    if view.candidate is None and not _keeps_other(view, proof, proven=proven):
        gone += unneeded(view.tracks.other)
        gone.append(ObjectKey("Service", view.live.preview_name))
    if view.candidate is None and not (view.tracks.failed or _waits(view)):
        kept = proof.stage.job
        jobs = children_of_role(run.observed, "Job", CANDIDATE_PROOF)
        gone += [key for key, job in jobs if key.name != kept and not is_terminating(job)]
    return tuple(gone)


def _waits(view: BlueGreen) -> bool:
    """Whether a version that came up waits for what decides about it: its gate, or a look at the key."""
    return view.tracks.waits and not (view.target is None and view.shut)


def _keeps_other(view: BlueGreen, proof: ProofView, *, proven: bool) -> bool:
    known = view.known
    if _waits(view) or view.tracks.back or known is None or is_draining(view.live.run, known):
        return True
    if known.candidate is not None and known.candidate.weight:
        return True  # it loses its share now, of which the status says since when at the next look
    if view.tracks.stops:
        return False
    if known.previous is None or known.previous.version != told_version(view.tracks.other):
        return False
    at = parse_time(known.switched_at)
    return not (proven and proof.at is not None and at is not None and proof.at > at)


def rollout_status(view: BlueGreen, updates: Sequence[ConditionUpdate]) -> RolloutStatus | None:
    """The tracks for the status; ``updates``: what the proofs of the live track say."""
    known, candidate, run = view.known, view.candidate, view.live.run
    if known is None:
        return None
    if run.spec.rollout.strategy != BLUE_GREEN and is_empty(view.tracks.other):
        return RolloutStatus(live=known.live) if known.live.track == "green" else None
    entry = candidate.status if candidate and not candidate.failure else None
    if run.spec.suspend and known.candidate is not None:
        version = known.candidate.model_dump(include=set(TrackVersion.model_fields))
        entry = CandidateStatus.model_validate(version)
    if _waits(view) and view.target is not None:
        entry = known.candidate
    elif _waits(view) and known.candidate is not None:
        entry = known.candidate.model_copy(update={"step": 0, "weight": 0, "step_started_at": ""})
    fields: dict[str, Any] = {"candidate": entry}
    lost = known.candidate is not None and known.candidate.weight > 0 and not (entry and entry.weight)
    if lost:
        fields["switched_at"] = format_time(run.now)
    if known.previous is not None and is_empty(view.tracks.other):
        fields["previous"] = None
    if candidate is not None:
        failed = candidate.failure
        record = failed_version(candidate.parts, view.tracks.version, failed) if failed else None
        fields["failed"] = record or view.tracks.kept
    elif not view.tracks.failed and not _waits(view):
        fields["failed"] = _failed_live(view, updates) or view.tracks.kept
    return known.model_copy(update=fields)


def _failed_live(view: BlueGreen, updates: Sequence[ConditionUpdate]) -> Any:
    """The record of a live version whose canaries failed while the one before is there to take over again.

    A bypass that opens after the change-over is the namespace's or the network plugin's fault: both versions
    have it.
    """
    rails = (update for update in updates if update.type == ConditionType.RAILS_PROVEN)
    bad = " ".join(update.message for update in rails if update.status == "False")
    previous = view.known.previous if view.known else None
    there = previous is not None and previous.version == told_version(view.tracks.other)
    answers = there and all(item.answers for item in rollouts_of(view.tracks.other).values())
    if not bad or not answers or view.tracks.holds:
        return None
    return failed_version(view.live, told_version(view.live), f"Its proof failed: {bad}")


def promoted(view: BlueGreen) -> ConditionUpdate | None:
    """The condition Promoted; None with strategy Rolling."""
    if view.live.run.spec.rollout.strategy != BLUE_GREEN:
        return None
    failed, candidate = view.tracks.failed, view.candidate
    serves = _serving(view)
    if candidate is not None and candidate.failure:
        return _failure(candidate.status.model_digest, candidate.failure, serves)
    if failed is not None:
        return _refused(view, failed, serves)
    if candidate is not None:
        return _coming(candidate, serves)
    if _waits(view) or view.tracks.holds:
        text, reason = "Nothing new comes up before the gate and what the spec names allow it", Reason.PENDING
        if view.tracks.drains:
            text, reason = "It comes up when requests to its track are over", Reason.ROLLING_OUT
        return ConditionUpdate(ConditionType.PROMOTED, "Unknown", reason, f"{text}; {serves}.")
    text = f"The version of the spec has all requests (track {view.live.track})."
    if view.known is not None and view.known.previous is not None and view.has_other:
        text += " The version before is kept until a proof at the endpoint is good."
    return ConditionUpdate(ConditionType.PROMOTED, "True", Reason.PROMOTED, text)


def _serving(view: BlueGreen) -> str:
    if has_no_pods(view.live):
        return "Nothing is served"
    return f"{view.live.rolled_model()} serves on (track {view.live.track})"


def _refused(view: BlueGreen, failed: FailedVersion, serves: str) -> ConditionUpdate:
    if view.tracks.stops:
        return _nowhere_to_go(failed)
    serves = "The version before takes over again" if view.tracks.back else serves
    return _failure(failed.model_digest, failed.message, serves)


def _nowhere_to_go(failed: FailedVersion) -> ConditionUpdate:
    text = (
        f"The model of the spec regressed, and the proof of the version to go back to "
        f"({failed.model_digest}) failed, so nothing is served: {failed.message} Let the evaluations of the "
        f"spec's model pass again. {AGAIN}"
    )
    return ConditionUpdate(ConditionType.PROMOTED, "False", Reason.ROLLOUT_FAILED, text)


def _failure(digest: str, message: str, serves: str) -> ConditionUpdate:
    text = (
        f"The new version ({digest}) gets no requests: {message} {serves}. {AGAIN} "
        "The log of a proof is its Job's (stage prove-candidate)."
    )
    return ConditionUpdate(ConditionType.PROMOTED, "False", Reason.ROLLOUT_FAILED, text)


def _coming(candidate: Candidate, serves: str) -> ConditionUpdate:
    text = f"The new version ({candidate.status.model_digest}) is on track {candidate.parts.track}: "
    text += f"{candidate.text.rstrip('.')}. {serves}."
    return ConditionUpdate(ConditionType.PROMOTED, "Unknown", Reason.ROLLING_OUT, text)


def candidate_stage(view: BlueGreen) -> tuple[StageStatus, ...]:
    """The entry of the candidate's proof; of one that failed without what another proof would go by."""
    if view.candidate is not None:
        return (view.candidate.proof.stage,)
    before = view.live.run.before.stage(CANDIDATE_PROOF)
    if _waits(view):
        return (before,) if before.job else ()
    return (before.model_copy(update={"hash": ""}),) if view.tracks.failed and before.job else ()


def outside_of(view: BlueGreen, proof: ProofView) -> OutsideView:
    """The probes from another namespace of both tracks: one Job is made at a time."""
    if view.candidate is None:
        return proof.outside
    both = (view.candidate.proof.outside, proof.outside)
    needed = {item.mine for item in both if item.mine}
    over = {job["metadata"]["name"]: job for item in both for job in item.over}
    wanted = next((item.wanted for item in both if item.wanted), None)
    return OutsideView(wanted=wanted, over=tuple(job for name, job in over.items() if name not in needed))


def look_again(view: BlueGreen, status: RolloutStatus | None) -> list[float]:
    """Seconds until the next looks that no event calls for."""
    run, known, candidate = view.live.run, view.known, view.candidate
    found: list[float] = []
    if status is not None and is_draining(run, status):
        at = parse_time(status.switched_at)
        found.append((at + DRAIN - run.now).total_seconds() if at else RECORD_SECONDS)
    if status is not None and (known is None or status.failed != known.failed):
        found.append(RECORD_SECONDS)
    if candidate is not None:
        due = candidate.proof.view
        moments = [
            candidate.due,
            candidate.open_from,
            candidate.deadline,
            candidate.proof.next_at,
            due.retry_at if due else None,
        ]
        found += [(moment - run.now).total_seconds() for moment in moments if moment is not None]
        before = run.before.stage(CANDIDATE_PROOF)
        stage = candidate.proof.stage
        if (before.hash, before.finished_at) != (stage.hash, stage.finished_at):
            found.append(RECORD_SECONDS)
        if due is None or due.active:
            found.append(run.settings.progress_seconds)
    return [max(RECORD_SECONDS, seconds) for seconds in found]
