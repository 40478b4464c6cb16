"""All that is known of a guarded model before anything is decided: its gate, its version, its proof."""

from dataclasses import dataclass, replace

from safety_operator.api.conditions import ConditionType, Reason
from safety_operator.api.guarded_deployment import GuardedDeploymentSpec
from safety_operator.planning.engine.batch import Outcome
from safety_operator.planning.engine.conditions import ConditionUpdate
from safety_operator.planning.engine.problems import Problem, attempt, capital
from safety_operator.planning.engine.products import Model
from safety_operator.planning.guarded_deployment.blue_green import BlueGreen, look_at_tracks, stop
from safety_operator.planning.guarded_deployment.deployment_parts import GuardedRun, Parts
from safety_operator.planning.guarded_deployment.endpoint import find_authorities, find_wanted, identity_of
from safety_operator.planning.guarded_deployment.gate import GateDecision, decide_gate, decide_pinned
from safety_operator.planning.guarded_deployment.guards import find_guards
from safety_operator.planning.guarded_deployment.in_service import InService, find_in_service
from safety_operator.planning.guarded_deployment.own_config import own_files
from safety_operator.planning.guarded_deployment.proof import ProofView, advance_proof
from safety_operator.planning.guarded_deployment.revisions import find_pinned, revision_of
from safety_operator.planning.guarded_deployment.roles import MODEL_ROLE, RAILS_ROLE
from safety_operator.planning.guarded_deployment.rollouts import GUARD, Rollout, rollouts_of
from safety_operator.planning.guarded_deployment.signatures import VERIFY
from safety_operator.planning.guarded_deployment.target import Target, explain_target, find_target, stopped
from safety_operator.planning.guarded_deployment.tracks import live_track, there_on
from safety_operator.planning.shared.models import FETCH, check_start_cache
from safety_operator.state.reading import value_at


@dataclass(frozen=True, slots=True)
class DeploymentView:
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


def look(outcome: Outcome[GuardedDeploymentSpec]) -> DeploymentView:
    """All of it, from what the stages came to."""
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
    live = replace(live, own=own or (), guards=guards or (), authorities=authorities or "")
    live = _parts(live, target.model if target else None)
    tracks = look_at_tracks(live, target, shut=gate.shut)
    if tracks.tracks.stops and model and target:
        target = stopped(target, model, live.rolled_model())
        live = _parts(live, target.model)
        tracks = stop(tracks, live, target)
    gate, live = explain_target(gate, target), tracks.live
    parts, rollouts = tracks.wanted, there_on(live, held=tracks.holds)
    rails = rollouts[RAILS_ROLE]
    server = rails if live.asked_endpoint() else rollouts[MODEL_ROLE]
    now = find_in_service(live, server, rails, rollouts.get(GUARD))
    rollouts = rollouts_of(parts) if tracks.candidate else rollouts
    return DeploymentView(
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
