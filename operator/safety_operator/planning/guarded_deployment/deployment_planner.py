"""GuardedDeployment: fetch, pass the gate, serve, put rails before it, and keep proving that they hold."""

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from safety_operator.api.conditions import ConditionType, ProgressStatus, Reason
from safety_operator.api.guarded_deployment import (
    GuardedDeploymentSpec,
    GuardedDeploymentStatus,
    ServedStatus,
)
from safety_operator.api.guarded_guards import GuardStatus
from safety_operator.api.guarded_rollout import RolloutStatus
from safety_operator.children.network_policy import INTERNET, NAMESPACE, build_stage_policy
from safety_operator.children.server_files import build_files_map
from safety_operator.planning.engine.batch import Outcome, advance
from safety_operator.planning.engine.conditions import (
    ConditionUpdate,
    Readiness,
    build_conditions,
    condition_events,
    shorten,
    stage_events,
)
from safety_operator.planning.engine.problems import Problem, attempt, capital
from safety_operator.planning.engine.products import Model
from safety_operator.planning.engine.stages import Run, Stage
from safety_operator.planning.guarded_deployment.blue_green import (
    ROOM,
    BlueGreen,
    candidate_stage,
    held_children,
    look_again,
    look_at_tracks,
    outside_of,
    promoted,
    rollout_status,
    taken_away,
    widened,
)
from safety_operator.planning.guarded_deployment.deployment_parts import (
    CANDIDATE_PROOF,
    PROVE_ROLE,
    Parts,
    status_before,
)
from safety_operator.planning.guarded_deployment.endpoint import (
    endpoint_ready,
    find_authorities,
    find_wanted,
    identity_of,
)
from safety_operator.planning.guarded_deployment.exposure import (
    exposed,
    exposure_children,
    stale_exposure,
)
from safety_operator.planning.guarded_deployment.gate import GateDecision, decide_gate, decide_pinned
from safety_operator.planning.guarded_deployment.guards import (
    fetch_stages,
    find_guards,
    guard_status,
)
from safety_operator.planning.guarded_deployment.in_service import InService, available, find_in_service
from safety_operator.planning.guarded_deployment.own_config import engine_of, own_files
from safety_operator.planning.guarded_deployment.proof import (
    ProofView,
    advance_proof,
    is_good,
    proof_status,
    proof_updates,
)
from safety_operator.planning.guarded_deployment.revisions import (
    Entry,
    find_pinned,
    next_revisions,
    revision_of,
)
from safety_operator.planning.guarded_deployment.roles import MODEL_ROLE, RAILS_ROLE
from safety_operator.planning.guarded_deployment.rollouts import Rollout
from safety_operator.planning.guarded_deployment.scaling import (
    autoscaled,
    scaling_children,
    stale_scaling,
)
from safety_operator.planning.guarded_deployment.signatures import (
    VERIFY,
    verify_signatures,
)
from safety_operator.planning.guarded_deployment.target import Target, explain_target, find_target
from safety_operator.planning.guarded_deployment.tracks import GUARD, live_track, rollouts_of, there_on
from safety_operator.planning.shared.models import (
    FETCH,
    check_start_cache,
    fetch_model,
)
from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import LABEL_INSTANCE
from safety_operator.state.plan import Child, Plan
from safety_operator.state.reading import format_time, generation_of, integer, value_at

GuardedRun = Run[GuardedDeploymentSpec]

OLD_FIRST = "with spec.serving.updateStrategy {type: Recreate} the old pod goes first."
"""What helps where an update finds no accelerator free besides those of the pods that it replaces."""


def plan(run: GuardedRun) -> Plan:
    """Where the guarded model is, and what to do about it."""
    table = (*TABLE, *fetch_stages(run.spec.guardrails))
    if run.spec.gate.require_signature:
        table = (*table, SIGNATURES)
    outcome = advance(run, table, others=frozenset({PROVE_ROLE, CANDIDATE_PROOF}))
    view = _look(outcome)
    apply, delete = _act(view)
    return _finish(view, (*outcome.apply, *apply), (*outcome.delete, *delete))


TABLE: tuple[Stage[GuardedDeploymentSpec], ...] = (
    Stage(FETCH, lambda run: fetch_model(run, run.spec.model)),
)
SIGNATURES: Stage[GuardedDeploymentSpec] = Stage(VERIFY, verify_signatures, needs=(FETCH,))


@dataclass(frozen=True, slots=True)
class _View:
    """All that is known before anything is decided."""

    outcome: Outcome[GuardedDeploymentSpec]
    tracks: BlueGreen
    parts: Parts
    """Those of the version that the spec asks for."""
    model: Model | None
    """None while it is being waited for."""
    gate: GateDecision
    blocker: Problem | None
    """Something that the spec names is missing, or fetching failed."""
    target: Target | None
    """What the model server is to be; None: what is there stays as it is."""
    now: InService
    server: Rollout
    rails: Rollout
    guard: Rollout | None
    proof: ProofView
    wrong_config: Problem | None = None
    """The rails cannot be configured, for the user's own configuration or for a guard: what runs stays."""

    @property
    def keeps_rails(self) -> bool:
        """Whether the guardrails stay as they are, because what they would ask must not or cannot answer."""
        endpoint, asked = self.parts.others, self.parts.asked_endpoint()
        if endpoint is None:
            return bool(asked) and not self.server.answers
        known = (asked, self.deployed) == (endpoint.url, identity_of(endpoint))
        lacks_key = self.parts.main_key is not None and not self.parts.main_key_version
        stopped = value_at(self.parts.deployment(RAILS_ROLE), "spec", "replicas") == 0
        return lacks_key or (self.target is None and (stopped or not known))

    @property
    def deployed(self) -> str:
        """Digest that the model's Deployment was last told to serve; empty: there is none."""
        return self.now.newest.model

    @property
    def rollouts(self) -> tuple[Rollout, ...]:
        """How each of the Deployments is."""
        server = None if self.parts.others else self.server
        return tuple(filter(None, (server, self.rails, self.guard)))


def _look(outcome: Outcome[GuardedDeploymentSpec]) -> _View:
    run = outcome.run
    model, waiting = attempt(_find_model, run)
    gate = _decide_gate(outcome, model) if model else _gate_waits(waiting)
    own, wrong_config = attempt(own_files, run)
    guards, no_guard = attempt(find_guards, run)
    authorities, no_authorities = attempt(find_authorities, run)
    blocker = wrong_config or no_authorities or _blocker(outcome, waiting) or no_guard
    wrong_config = wrong_config or no_authorities or no_guard
    live = Parts(run, track=live_track(run))
    target = find_target(run, model, gate, live.rolled_model()) if model and not blocker else None
    gate = explain_target(gate, target)
    live = _parts(live, target.model if target else None)
    live = replace(live, own=own or (), guards=guards or (), authorities=authorities or "")
    tracks = look_at_tracks(live, target, shut=gate.shut)
    parts, rollouts = tracks.wanted, there_on(live, held=tracks.holds)
    rails = rollouts[RAILS_ROLE]
    server = rails if live.asked_endpoint() else rollouts[MODEL_ROLE]
    now = find_in_service(live, server, rails, rollouts.get(GUARD))
    rollouts = rollouts_of(parts) if tracks.candidate else rollouts
    return _View(
        outcome=outcome,
        tracks=tracks,
        parts=parts,
        model=model,
        gate=gate,
        blocker=blocker,
        target=target,
        now=now,
        server=rollouts[MODEL_ROLE],
        rails=rollouts[RAILS_ROLE],
        guard=rollouts.get(GUARD),
        proof=advance_proof(
            live,
            now.version.model,
            now.version.config,
            serving=now.answers and not run.spec.suspend,
            renew=tracks.renew,
        ),
        wrong_config=wrong_config,
    )


def _parts(parts: Parts, model: Model | None) -> Parts:
    """The children; ``model``: the one to be served now, None where the one that is stays."""
    if model is None:
        return replace(parts, opens_reasoning=parts.rolled_reasoning())
    parsed = parts.run.spec.serving.reasoning_parser is not None
    opens = model.chat_template is not None and bool(model.chat_template.opens) and not parsed
    return replace(parts, opens_reasoning=opens)


def _find_model(run: GuardedRun) -> Model:
    """The model that is to be served. Raises Blocked while it cannot be."""
    pinned = run.spec.rollout.model_digest
    model = find_pinned(run, pinned) if pinned else find_wanted(run)
    check_start_cache(run, model, run.spec.serving)
    return model


def _decide_gate(outcome: Outcome[GuardedDeploymentSpec], model: Model) -> GateDecision:
    run = outcome.run
    decided = decide_gate(run, model.digest, outcome.view(VERIFY))
    revision = revision_of(run, model.digest) if run.spec.rollout.model_digest else None
    return decide_pinned(run, revision, decided) if revision else decided


def _gate_waits(waiting: Problem | None) -> GateDecision:
    text = f"{capital(waiting.message)}." if waiting else ""
    return GateDecision(
        ConditionUpdate(ConditionType.GATE_PASSED, "Unknown", Reason.WAITING_FOR_REFERENCE, text)
    )


def _blocker(outcome: Outcome[GuardedDeploymentSpec], waiting: Problem | None) -> Problem | None:
    """The first thing that a person has to fix before anything can be served."""
    run = outcome.run
    fetches = (view for view in outcome.views if view.status.name.startswith(FETCH))
    candidates = [
        attempt(run.check_store).problem,
        attempt(run.inputs, RAILS_ROLE).problem,
        *(view.problem for view in fetches),
        waiting if waiting and waiting.stalled else None,
    ]
    return next((item for item in candidates if item is not None), None)


def _act(view: _View) -> tuple[tuple[Child, ...], tuple[ObjectKey, ...]]:
    """Children to apply and to delete, besides those of the fetch stage."""
    parts, run = view.parts, view.outcome.run
    if run.spec.suspend:
        return (), tuple(key for key in parts.running() if key not in view.outcome.delete)
    server = _model_child(view)
    if view.target is None and not view.deployed:
        return (), view.proof.delete
    if parts.waits_for_key and view.wrong_config is None:
        made = parts.shared() if view.tracks.holds else parts.fixed()
        return tuple(widened(view.tracks, made)), view.proof.delete
    proofs = (view.proof, view.tracks.candidate.proof) if view.tracks.candidate else (view.proof,)
    due = tuple(child for proof in proofs if proof.view for child in proof.view.apply)
    gone = tuple(key for proof in proofs for key in proof.delete)
    if view.wrong_config is not None and not view.tracks.holds:
        return (*_proof_policy(view), *due), gone
    gone += taken_away(view.tracks, view.proof, proven=bool(_proven_at(view)))
    if view.tracks.holds or view.tracks.tracks.back:
        return (*held_children(view.tracks), *_proof_policy(view), *due), gone
    files = (Child(build_files_map(run.owner), create_only=True),) if server or parts.guards else ()
    servers = (*files, server) if server else files
    stale = () if view.tracks.has_other else (*parts.stale(), *stale_scaling(parts))
    return (
        (
            *(*widened(view.tracks, parts.fixed()), *exposure_children(parts), *scaling_children(parts)),
            *(*servers, *_rails_child(view), *_proof_policy(view), *due),
        ),
        (*gone, *stale, *stale_exposure(parts)),
    )


def _model_child(view: _View) -> Child | None:
    """The model server as it should be; None: leave what is there as it is."""
    target = view.target
    if target is None or view.parts.others is not None:
        return None
    return view.parts.model(target.model, stopped=target.replicas == 0)


def _rails_child(view: _View) -> tuple[Child, ...]:
    """The guardrails as they should be; they end with the gate of a model that others serve."""
    if view.keeps_rails:
        return ()
    stopped = view.parts.others is not None and view.target is not None and view.target.replicas == 0
    return (view.parts.rails(stopped=stopped),)


def _proof_policy(view: _View) -> tuple[Child, ...]:
    """The proof's pods may reach the namespace, so that the bypass probe is a fair one."""
    run, candidate = view.parts.run, view.tracks.candidate
    due = (view.proof.view, candidate.proof.view if candidate else None)
    reach = NAMESPACE if view.parts.others is None else INTERNET
    policy = build_stage_policy(run.owner, reach, run.settings.dns_peers)
    return (Child(policy),) if any(item and item.active for item in due) else ()


def _finish(view: _View, apply: tuple[Child, ...], delete: tuple[ObjectKey, ...]) -> Plan:
    run = view.outcome.run
    updates = _updates(view)
    readiness = _readiness(view, updates)
    outside = outside_of(view.tracks, view.proof)
    there = available(view.tracks.live, view.now)
    wanted = [*readiness.updates(batch=False), there, *updates, *filter(None, [autoscaled(view.parts)])]
    generation = generation_of(run.observed.resource)
    status = GuardedDeploymentStatus(
        observed_generation=generation,
        conditions=build_conditions(run.before, wanted, generation, run.now),
        state=readiness.state,
        progress=_progress(view, readiness),
        stages=[
            *(item.status for item in view.outcome.views),
            *candidate_stage(view.tracks),
            view.proof.stage,
        ],
        **_served(view),
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


def _updates(view: _View) -> list[ConditionUpdate]:
    """The conditions of this kind."""
    return [
        view.gate.update,
        _model_ready(view),
        _rails_ready(view),
        *filter(None, [promoted(view.tracks)]),
        *_proof_updates(view),
        *filter(None, [exposed(view.parts)]),
    ]


def _proof_updates(view: _View) -> list[ConditionUpdate]:
    return proof_updates(view.proof, Decimal(view.parts.run.spec.proof.min_benign), view.parts.others)


def _model_ready(view: _View) -> ConditionUpdate:
    type_ = ConditionType.MODEL_READY
    if view.parts.others is not None:
        return endpoint_ready(view.parts.others, view.proof.proof, view.proof.overdue)
    wanted = view.target.model.digest if view.target and not view.tracks.stays else view.deployed
    deployed = view.parts.rolled_model()
    if not view.server.exists:
        return ConditionUpdate(type_, "Unknown", Reason.PENDING, "The model is not served yet.")
    if view.server.complete and deployed != wanted:
        return ConditionUpdate(type_, "Unknown", Reason.NOT_READY, "A new model is being rolled out.")
    if view.server.complete:
        text = f"The model server answers with {deployed}.{_without_key(view.parts)}"
        return ConditionUpdate(type_, "True", Reason.SERVING, text)
    return _not_ready(type_, view.server, view)


def _without_key(parts: Parts) -> str:
    """What keeps others from an engine that asks clients for no key; empty for one that does."""
    if parts.model_key is not None:
        return ""
    return " It asks clients for no key: NetworkPolicies alone keep others away, which BypassClosed tells."


def _rails_ready(view: _View) -> ConditionUpdate:
    type_ = ConditionType.GUARDRAILS_READY
    wrong = view.wrong_config
    if wrong is not None:
        if wrong.stalled:
            return ConditionUpdate(type_, "False", wrong.reason, wrong.message)
        return ConditionUpdate(type_, "Unknown", wrong.reason, f"{capital(wrong.message)}.")
    if not view.rails.exists:
        return ConditionUpdate(type_, "Unknown", Reason.PENDING, "The guardrails do not run yet.")
    for rollout in (view.rails, view.guard):
        if rollout is not None and not rollout.complete:
            return _not_ready(type_, rollout, view)
    if not view.tracks.stays and view.parts.rolled_config() != view.parts.config_hash():
        return ConditionUpdate(type_, "Unknown", Reason.NOT_READY, "A new configuration is being rolled out.")
    return ConditionUpdate(type_, "True", Reason.SERVING, _rails_answer(view.parts))


def _rails_answer(parts: Parts) -> str:
    """That the guardrails answer, and by which engine those of a user's own."""
    if not parts.own:
        return "The guardrails answer."
    return f"The guardrails answer, those of guardrails.config by {engine_of(parts.own)}."


def _not_ready(type_: ConditionType, rollout: Rollout, view: _View) -> ConditionUpdate:
    problem = rollout.problem
    if problem is None:
        return ConditionUpdate(type_, "Unknown", Reason.NOT_READY, f"{capital(rollout.text)}.")
    message = problem.message
    if view.tracks.candidate and view.now.answers:
        message = f"{message.rstrip('.')}. The version before serves on."
        message += f" {ROOM}" if re.search(r"Insufficient |quota", message) else ""
    elif rollout.has_old and view.now.answers:
        message = f"{message.rstrip('.')}. The version before serves on."
        lacks_room = re.search(r"Insufficient ([\w./-]+)", message)
        if lacks_room and rollout is view.server:
            message += f" It keeps its {lacks_room[1].rstrip('.')}: {OLD_FIRST}"
    return ConditionUpdate(type_, "False" if problem.stalled else "Unknown", problem.reason, message)


def _readiness(view: _View, updates: list[ConditionUpdate]) -> Readiness:
    """Ready only when all hold; the first that does not gives the reason."""
    if view.outcome.run.spec.suspend:
        text = "spec.suspend is true: nothing is served."
        return Readiness("Unknown", Reason.SUSPENDED, text, state="Suspended")
    blocker = view.blocker
    if blocker is not None and blocker.stalled:
        state = "Failed" if blocker.failed else "Stalled"
        return Readiness("False", blocker.reason, blocker.message, state=state, stalled=True)
    bad = next((item for item in updates if item.status == "False"), None)
    if bad is not None:
        return Readiness("False", bad.reason, bad.message, state="Stalled", stalled=True)
    open_ = next((item for item in updates if not is_good(item)), None)
    if blocker is not None:
        state = "Waiting" if blocker.reference else "Running"
        return Readiness("Unknown", blocker.reason, capital(blocker.message), state=state, reconciling=True)
    if open_ is not None:
        waits = open_.reason == Reason.WAITING_FOR_REFERENCE
        return Readiness(
            "Unknown", open_.reason, open_.message, state="Waiting" if waits else "Running", reconciling=True
        )
    unsure = next((f" {item.message}" for item in updates if item.status != "True"), "")
    return Readiness("True", Reason.SERVING, f"{view.parts.endpoint_url} answers.{unsure}", state="Serving")


def _progress(view: _View, readiness: Readiness) -> ProgressStatus:
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


def _served(view: _View) -> dict[str, Any]:
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
        "endpoint": parts.endpoint_url if view.rails.complete or stays else "",
        "served": ServedStatus(
            model_digest=version.model,
            model_uri=model_uri if version.model else "",
            wanted_model_digest=view.model.digest if view.model else "",
            config_hash=version.config,
            wanted_config_hash=parts.config_hash(),
        ),
        "guards": before.guards if view.tracks.holds else _guards(parts),
        "proof": proof_status(view.proof),
        "revisions": next_revisions(run, version, _entry(view, model_uri), _proven_at(view)),
        "replicas": max(0, integer(value_at(live.deployment(MODEL_ROLE), "status", "replicas"))),
        "selector": f"{LABEL_INSTANCE}={live.name(MODEL_ROLE)}",
        "rollout": rollout_status(view.tracks, proof_updates(view.proof, Decimal(run.spec.proof.min_benign))),
    }


def _guards(parts: Parts) -> list[GuardStatus]:
    """The guards that are fetched; none while one of them is not."""
    found = parts.served_guards().values() if parts.guards else ()
    return [guard_status(guard, ready=parts.rollout_of(guard).answers) for guard in found]


def _entry(view: _View, model_uri: str) -> Entry:
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


def _proven_at(view: _View) -> str:
    """When the last proof of what is in service was good; empty where it was not."""
    good = view.proof.at is not None and all(map(is_good, _proof_updates(view)))
    return format_time(view.proof.at) if good and view.proof.at else ""


def _requeue(view: _View, readiness: Readiness, rollout: RolloutStatus | None) -> float | None:
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
