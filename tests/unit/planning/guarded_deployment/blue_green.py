"""GuardedDeployments with two tracks, at some moments of a rollout."""

from typing import Any

from tests.unit.planning.examples import finished_eval, finished_finetune
from tests.unit.planning.guarded_deployment.guarded import GOOD, make_serving
from tests.unit.planning.world import World

from safety_cli.simulation import make_ready
from safety_operator.state.keys import ObjectKey
from safety_operator.state.labels import LABEL_INSTANCE, LABEL_ROLE
from safety_operator.state.observed import PodFailure

BLUE_GREEN = {"strategy": "BlueGreen"}
BAD = GOOD.model_copy(update={"unsafe_blocked": 2})
ROUTE = {"httpRoute": {"parentRefs": [{"name": "gateway"}]}}
STRICTER = {"contentSafety": {"model": {"classifier": "prompt-harm-minilm", "threshold": "0.1"}}}
RAILS_POLICY = ObjectKey("NetworkPolicy", "assistant-guardeddeployment-guardrails")


def make_updated(**spec: Any) -> World:
    """A version that serves, and a new model that was told to the operator."""
    world = make_serving(**({"rollout": BLUE_GREEN} | spec))
    new_model(world, "newer")
    return world


def new_model(world: World, product: str) -> None:
    world.refer("SafetyFinetune", "hardened", finished_finetune(product))
    world.refer("SafetyEval", "hardened", finished_eval(product))
    world.settle()


def track(world: World) -> str:
    """The track that the endpoint leads to."""
    service = world.children[ObjectKey("Service", "assistant")]
    rails = world.children[ObjectKey("Deployment", service["spec"]["selector"][LABEL_INSTANCE])]
    candidates = [name for name in deployments(world, "guardrails") if name != first(world)]
    return "green" if rails["metadata"]["name"] in candidates else "blue"


def first(world: World) -> str:
    """Name of the guardrails of the first version that ever was: names of blue are as ever."""
    return next(key.name for key in world.applied if key.kind == "Deployment" and "-guardrails-" in key.name)


def deployments(world: World, role: str) -> list[str]:
    return [
        key.name
        for key, child in world.children.items()
        if key.kind == "Deployment" and child["metadata"]["labels"][LABEL_ROLE] == role
    ]


def serve_new(world: World) -> None:
    """All pods of all Deployments are ready."""
    for key, child in world.children.items():
        if key.kind == "Deployment":
            make_ready(child)
    world.settle()


def prove_new(world: World, proof: Any = GOOD) -> None:
    serve_new(world)
    world.succeed("prove-candidate", proof=proof)
    world.settle()
    world.wait(5)  # its NetworkPolicy opens first
    world.settle()


def finish(world: World) -> None:
    """The endpoint is proved with the new version, and the old pods have had their time."""
    world.wait(5)
    world.settle()
    world.succeed("prove", proof=GOOD)
    world.settle()
    world.wait(31)
    world.settle()


def promoted(world: World) -> tuple[str, str, str]:
    found = world.condition("Promoted")
    return found["status"], found["reason"], found["message"]


def settle_with_lost_statuses(world: World) -> None:
    """Each plan is carried out by an operator that ends before it writes the status, and then by another."""
    for _ in range(8):
        lost = dict(world.status)
        world.carry_out(world.plan())
        world.resource["status"] = lost
        world.carry_out(world.plan())
        world.wait(1)
    world.settle()


def quota() -> PodFailure:
    return PodFailure("", "", None, "FailedCreate", "pods is forbidden: exceeded quota: q")
