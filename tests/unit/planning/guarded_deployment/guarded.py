"""GuardedDeployments at some moments of their life."""

from typing import Any

from tests.unit.planning.examples import finished_eval, finished_finetune, make_guarded
from tests.unit.planning.world import World

from safety_operator.state.labels import LABEL_ROLE
from safety_records.result import Proof

GOOD = Proof(unsafe_blocked=3, unsafe_total=3, benign_answered=3, benign_total=3, bypass_closed=True)


def make_open(**spec: Any) -> World:
    world = make_guarded(**spec)
    world.refer("SafetyFinetune", "hardened", finished_finetune())
    world.refer("SafetyEval", "hardened", finished_eval())
    return world


def serve_all(world: World) -> None:
    for role in ("model", "classifier", "guardrails"):
        world.serve(role)
    world.settle()


def make_serving(**spec: Any) -> World:
    world = make_open(**spec)
    world.settle()
    serve_all(world)
    world.succeed("prove", proof=GOOD)
    world.settle()
    return world


def deployment(world: World, role: str) -> dict[str, Any]:
    return next(
        child
        for key, child in world.children.items()
        if key.kind == "Deployment" and child["metadata"]["labels"][LABEL_ROLE] == role
    )


def configurations(world: World) -> list[str]:
    """The rails' ConfigMaps."""
    return [name for name in world.names("ConfigMap") if "-rails-config-" in name]


def container(world: World, role: str) -> dict[str, Any]:
    found: dict[str, Any] = deployment(world, role)["spec"]["template"]["spec"]["containers"][0]
    return found
