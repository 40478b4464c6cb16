"""What the status of a GuardedDeployment says besides its conditions."""

from decimal import Decimal
from typing import Any

from safety_operator.api.conditions import ProgressStatus
from safety_operator.api.guarded_deployment import ServedStatus
from safety_operator.api.guarded_guards import GuardStatus
from safety_operator.planning.engine.conditions import Readiness, shorten
from safety_operator.planning.guarded_deployment.blue_green import rollout_status
from safety_operator.planning.guarded_deployment.deployment_conditions import proven_at
from safety_operator.planning.guarded_deployment.deployment_parts import Parts, status_before
from safety_operator.planning.guarded_deployment.deployment_view import DeploymentView
from safety_operator.planning.guarded_deployment.guard_children import guard_of, guard_status
from safety_operator.planning.guarded_deployment.guards import FIELDS, ROLE_PREFIX, Guard, shared_name
from safety_operator.planning.guarded_deployment.proof_findings import proof_status, proof_updates
from safety_operator.planning.guarded_deployment.rails_config import config_hash
from safety_operator.planning.guarded_deployment.revisions import Entry, next_revisions
from safety_operator.planning.guarded_deployment.roles import MODEL_ROLE
from safety_operator.planning.guarded_deployment.rollouts import has_newest, rollout_of, rollout_of_guard
from safety_operator.planning.guarded_deployment.tracks import Tracks
from safety_operator.planning.shared.models import FETCH
from safety_operator.state.labels import LABEL_INSTANCE
from safety_operator.state.reading import integer, value_at


def find_progress(view: DeploymentView, readiness: Readiness) -> ProgressStatus:
    """What is being waited for, for people."""
    if readiness.state == "Serving":
        return ProgressStatus(percent=100, text="serving")
    if readiness.state in {"Suspended", "Stalled", "Failed", "Waiting"}:
        return ProgressStatus(text=shorten(readiness.message, 256))
    fetches = [item for item in view.outcome.views if item.status.name.startswith(FETCH)]
    texts = [item.text for item in fetches if not item.done and item.text]
    if view.gate.open:
        texts += [item.text for item in view.rollouts if not item.complete]
    due = view.proof.view
    texts += [due.text] if due and due.text else []
    return ProgressStatus(text=shorten(", ".join(texts) or readiness.message, 256))


def served_fields(view: DeploymentView) -> dict[str, Any]:
    """Endpoint, digests, proof and replicas."""
    parts, run = view.parts, view.outcome.run
    before = status_before(run)
    version = view.now.version
    model_uri = before.served.model_uri if before.served else ""
    live = view.tracks.live
    for model in (view.model, view.target.model if view.target else None):
        if model and model.digest == version.model:
            model_uri = parts.model_uri(model)
    stays = view.rails.exists and bool(before.endpoint)
    return {
        "endpoint": view.tracks.selected.endpoint_url if view.rails.complete or stays else "",
        "served": ServedStatus(
            model_digest=version.model,
            model_uri=model_uri if version.model else "",
            wanted_model_digest=view.model.digest if view.model else "",
            config_hash=version.config,
            wanted_config_hash=config_hash(parts),
        ),
        "guards": _held_guards(view.tracks.tracks) if view.tracks.holds else _guards(parts),
        "proof": proof_status(view.proof),
        "revisions": next_revisions(run, version, _entry(view, model_uri), proven_at(view)),
        "replicas": max(0, integer(value_at(live.deployment(MODEL_ROLE), "status", "replicas"))),
        "selector": f"{LABEL_INSTANCE}={live.name(MODEL_ROLE)}",
        "rollout": rollout_status(view.tracks, proof_updates(view.proof, Decimal(run.spec.proof.min_benign))),
    }


def _guards(parts: Parts) -> list[GuardStatus]:
    """The guards that are served; while the spec's are not all known, its own that are there."""
    if parts.lacks_guards:
        return _own_guards(parts)
    return [_guard(parts, guard) for guard in parts.served_guards().values()]


def _guard(parts: Parts, guard: Guard) -> GuardStatus:
    """A guard, or the one before until a pod of the new one is ready: others ask by what stands here."""
    found = guard_status(guard, ready=rollout_of_guard(parts, guard).answers)
    before = next((item for item in status_before(parts.run).guards if item.rail == guard.rail), None)
    is_own = before is not None and before.server == shared_name(guard.owner, guard.rail, before.format)
    child = parts.deployment(guard.role)
    told = child is not None and guard_of(guard.owner, child, ready=found.ready) == found
    if before is None or guard.shared or not is_own or (told and has_newest(parts, guard.role)):
        return found
    return before.model_copy(update={"ready": found.ready})


def _own_guards(parts: Parts) -> list[GuardStatus]:
    """The guards of a track that are served here, by their Deployments."""
    roles = [f"{ROLE_PREFIX}{rail}" for rail in FIELDS]
    return [
        guard_of(parts.run.owner, child, ready=rollout_of(parts, role, "the guard").answers)
        for role in roles
        if (child := parts.deployment(role)) is not None
    ]


def _held_guards(tracks: Tracks) -> list[GuardStatus]:
    """The guards of a live track that is not what the spec asks for; of others' what was known last."""
    live, shared = tracks.live, {guard.server: guard for guard in tracks.live.guards if guard.shared}
    services = {key.name for key in live.run.observed.children if key.kind == "Service"}
    others = [
        item.model_copy(update={"ready": shared[item.server].ready}) if item.server in shared else item
        for item in status_before(live.run).guards
        if item.server not in services
    ]
    return [*_own_guards(live), *others]


def _entry(view: DeploymentView, model_uri: str) -> Entry:
    """What is known of the version that is in service."""
    model, gate, digest = view.model, view.gate, view.now.version.model
    passed = gate.open and model is not None and model.digest == digest
    pinned = view.parts.run.spec.rollout.model_digest == digest
    return Entry(
        model_uri=model_uri,
        gate=gate.update.message if passed and not pinned else "",
        evaluated_at=gate.evaluated_at if passed else None,
        opens_reasoning=view.parts.opens_reasoning,
        why="spec.rollout.modelDigest" if pinned else view.target.why if view.target else "",
    )
