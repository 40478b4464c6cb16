"""What the model server is to be: the spec's model while its gate is open, and what a regression leads to."""

from dataclasses import dataclass, replace

from safety_operator.api.guarded_deployment import GuardedDeploymentSpec
from safety_operator.planning.engine.products import Model
from safety_operator.planning.engine.stages import Run
from safety_operator.planning.guarded_deployment.gate import GateDecision
from safety_operator.planning.guarded_deployment.revisions import as_model, find_back, revision_of


@dataclass(frozen=True, slots=True)
class Target:
    """A model and how many pods of it."""

    model: Model
    replicas: int
    why: str = ""
    """Why it is not the spec's; empty where it is."""
    words: str = ""
    """That for people, behind what GatePassed says."""


def find_target(
    run: Run[GuardedDeploymentSpec], model: Model, gate: GateDecision, deployed: str
) -> Target | None:
    """What to serve; None: what is there stays as it is.

    Parameters
    ----------
    run
        The resource.
    model
        The model that the spec asks for.
    gate
        What its gate says.
    deployed
        Digest that the model's Deployment was last told to serve; empty: there is none.
    """
    policy, replicas = run.spec.gate.on_regression, run.spec.serving.replicas
    if gate.open:
        return Target(model, replicas)
    if not gate.shut or policy == "keep":
        return None
    regressed = deployed == model.digest
    if policy == "rollBack" and (regressed or revision_of(run, model.digest)):
        back = find_back(run, model.digest)
        if back is not None and (regressed or deployed == back.model_digest):
            where = f"{back.model_digest} (revision {back.number}, proven at {back.proven_at})"
            words = f"{'Rolling' if regressed else 'Rolled'} back to {where}."
            return Target(as_model(back), replicas, "rolled back: its gate is shut", words)
    if not regressed:
        return None
    none = "No other revision was proven, so nothing is served." if policy == "rollBack" else ""
    return Target(model, 0, words=none)


def stopped(target: Target, model: Model, deployed: str) -> Target:
    """Nothing, where the proof of what was gone back to failed; ``model``: the one of the spec."""
    words = (
        f"Nothing is served: the proof of {target.model.digest}, to go back to, failed (see Promoted). Let "
        "the evaluations of the spec's model pass again, change the spec, or use "
        "kubectl safety rollout retry."
    )
    return Target(model if deployed == model.digest else target.model, 0, words=words)


def explain_target(gate: GateDecision, target: Target | None) -> GateDecision:
    """The gate's decision with what came of it."""
    if target is None or not target.words:
        return gate
    message = f"{gate.update.message} {target.words}"
    return replace(gate, update=replace(gate.update, message=message))
