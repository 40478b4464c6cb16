"""GuardedDeployment: fetch, pass the gate, serve, put rails before it, and keep proving that they hold."""

from safety_operator.api.guarded_deployment import GuardedDeploymentSpec, GuardedDeploymentStatus
from safety_operator.api.guarded_rollout import RolloutStatus
from safety_operator.children.network_policy import INTERNET, NAMESPACE, build_stage_policy
from safety_operator.children.server_files import build_files_map
from safety_operator.planning.engine.batch import advance
from safety_operator.planning.engine.conditions import (
    Readiness,
    build_conditions,
    condition_events,
    stage_events,
)
from safety_operator.planning.engine.stages import Stage
from safety_operator.planning.guarded_deployment.blue_green import (
    candidate_stage,
    held_children,
    look_again,
    outside_of,
    taken_away,
)
from safety_operator.planning.guarded_deployment.deployment_conditions import (
    find_conditions,
    find_readiness,
    proven_at,
)
from safety_operator.planning.guarded_deployment.deployment_parts import GuardedRun
from safety_operator.planning.guarded_deployment.deployment_status import find_progress, served_fields
from safety_operator.planning.guarded_deployment.deployment_view import DeploymentView, look
from safety_operator.planning.guarded_deployment.exposure import exposure_children, stale_exposure
from safety_operator.planning.guarded_deployment.guards import fetch_stages
from safety_operator.planning.guarded_deployment.in_service import available
from safety_operator.planning.guarded_deployment.model_children import model_server
from safety_operator.planning.guarded_deployment.rails_children import rails_server
from safety_operator.planning.guarded_deployment.roles import CANDIDATE_PROOF, PROVE_ROLE
from safety_operator.planning.guarded_deployment.scaling import autoscaled, scaling_children, stale_scaling
from safety_operator.planning.guarded_deployment.signatures import VERIFY, verify_signatures
from safety_operator.planning.guarded_deployment.track_children import (
    fixed_children,
    running_children,
    shared_children,
    stale_children,
)
from safety_operator.planning.shared.models import FETCH, fetch_model
from safety_operator.state.keys import ObjectKey
from safety_operator.state.plan import Child, Plan
from safety_operator.state.reading import generation_of


def plan(run: GuardedRun) -> Plan:
    """Where the guarded model is, and what to do about it."""
    table = (*TABLE, *fetch_stages(run.spec.guardrails))
    if run.spec.gate.require_signature:
        table = (*table, SIGNATURES)
    outcome = advance(run, table, others=frozenset({PROVE_ROLE, CANDIDATE_PROOF}))
    view = look(outcome)
    apply, delete = _act(view)
    return _finish(view, (*outcome.apply, *apply), (*outcome.delete, *delete))


TABLE: tuple[Stage[GuardedDeploymentSpec], ...] = (
    Stage(FETCH, lambda run: fetch_model(run, run.spec.model)),
)
SIGNATURES: Stage[GuardedDeploymentSpec] = Stage(VERIFY, verify_signatures, needs=(FETCH,))


def _act(view: DeploymentView) -> tuple[tuple[Child, ...], tuple[ObjectKey, ...]]:
    """Children to apply and to delete, besides those of the fetch stage."""
    parts, run = view.parts, view.outcome.run
    if run.spec.suspend:
        return (), tuple(key for key in running_children(parts) if key not in view.outcome.delete)
    server = _model_child(view)
    if view.target is None and not view.deployed:
        return (), view.proof.delete
    if parts.waits_for_key and view.wrong_config is None:
        made = shared_children(parts) if view.tracks.holds else fixed_children(parts)
        return made, view.proof.delete
    proofs = (view.proof, view.tracks.candidate.proof) if view.tracks.candidate else (view.proof,)
    due = tuple(child for proof in proofs if proof.view for child in proof.view.apply)
    gone = tuple(key for proof in proofs for key in proof.delete)
    if view.wrong_config is not None and not view.tracks.holds:
        return (*_proof_policy(view), *due), gone
    gone += taken_away(view.tracks, view.proof, proven=bool(proven_at(view)))
    if view.tracks.holds or view.tracks.tracks.back:
        return (*held_children(view.tracks), *_proof_policy(view), *due), gone
    files = (Child(build_files_map(run.owner), create_only=True),) if server or parts.guards else ()
    servers = (*files, server) if server else files
    stale = () if view.tracks.has_other else (*stale_children(parts), *stale_scaling(parts))
    return (
        (
            *(
                *fixed_children(parts),
                *exposure_children(parts),
                *scaling_children(parts),
            ),
            *(*servers, *_rails_child(view), *_proof_policy(view), *due),
        ),
        (*gone, *stale, *stale_exposure(parts)),
    )


def _model_child(view: DeploymentView) -> Child | None:
    """The model server as it should be; None: leave what is there as it is."""
    target = view.target
    if target is None or view.parts.others is not None:
        return None
    return model_server(view.parts, target.model, stopped=target.replicas == 0)


def _rails_child(view: DeploymentView) -> tuple[Child, ...]:
    """The guardrails as they should be; they end with the gate of a model that others serve."""
    if view.keeps_rails:
        return ()
    stopped = view.parts.others is not None and view.target is not None and view.target.replicas == 0
    return (rails_server(view.parts, stopped=stopped),)


def _proof_policy(view: DeploymentView) -> tuple[Child, ...]:
    """The proof's pods may reach the namespace, so that the bypass probe is a fair one."""
    run, candidate = view.parts.run, view.tracks.candidate
    due = (view.proof.view, candidate.proof.view if candidate else None)
    reach = NAMESPACE if view.parts.others is None else INTERNET
    policy = build_stage_policy(run.owner, reach, run.settings.dns_peers)
    return (Child(policy),) if any(item and item.active for item in due) else ()


def _finish(view: DeploymentView, apply: tuple[Child, ...], delete: tuple[ObjectKey, ...]) -> Plan:
    run = view.outcome.run
    updates = find_conditions(view)
    readiness = find_readiness(view, updates)
    outside = outside_of(view.tracks, view.proof)
    there = available(view.tracks.live, view.now)
    wanted = [*readiness.updates(batch=False), there, *updates, *filter(None, [autoscaled(view.parts)])]
    generation = generation_of(run.observed.resource)
    status = GuardedDeploymentStatus(
        observed_generation=generation,
        conditions=build_conditions(run.before, wanted, generation, run.now),
        state=readiness.state,
        progress=find_progress(view, readiness),
        stages=[
            *(item.status for item in view.outcome.views),
            *candidate_stage(view.tracks),
            view.proof.stage,
        ],
        **served_fields(view),
    )
    gone = tuple(dict.fromkeys(key for key in delete if key.kind == "Pod" or key in run.observed.children))
    events = stage_events(run.before, [item.status for item in view.outcome.views])
    return Plan(
        status=status.to_manifest(),
        apply=apply,
        delete=gone,
        events=events + condition_events(run.before, status.conditions),
        outside=None if run.spec.suspend else outside.wanted,
        outside_over=outside.over,
        requeue_after=_requeue(view, readiness, status.rollout),
    )


def _requeue(view: DeploymentView, readiness: Readiness, rollout: RolloutStatus | None) -> float | None:
    """When to look again without an event."""
    run = view.outcome.run
    if run.spec.suspend:
        return None
    overdue = view.proof.overdue_at if not view.proof.overdue else None
    moments = [view.gate.expires, view.proof.next_at if view.rails.exists else None, overdue]
    due = view.proof.view
    moments.append(due.retry_at if due else None)
    times = [max(1.0, (moment - run.now).total_seconds()) for moment in moments if moment is not None]
    times += look_again(view.tracks, rollout)
    rolling = view.gate.open and any(item.exists and not item.complete for item in view.rollouts)
    if (due and due.active) or (rolling and readiness.state == "Running"):
        times.append(run.settings.progress_seconds)
    if view.outcome.requeue_after is not None:
        times.append(view.outcome.requeue_after)
    return min(times, default=None)
